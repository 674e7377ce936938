import type { ClientHttp2Session, OutgoingHttpHeaders } from 'node:http2'
import { text } from 'node:stream/consumers'
import type { Fields, RawRequest } from './raw-http.ts'

/** Sends a request as a stream of its own, without a Content-Length, and returns its status. */
export async function sendHttp2(
  session: ClientHttp2Session,
  { method = 'GET', path = '/', fields = [], body, trailers }: RawRequest,
): Promise<number | undefined> {
  const headers = { ':method': method, ':path': path, ...grouped(fields) }
  const endStream = body === undefined && trailers === undefined
  const waitForTrailers = trailers !== undefined
  const stream = session.request(headers, { endStream, waitForTrailers })
  stream.on('wantTrailers', () => stream.sendTrailers(grouped(trailers ?? [])))
  if (!endStream) stream.end(body)
  const status = new Promise<number | undefined>((resolve, reject) => {
    stream.on('response', (answered) => resolve(answered[':status'])).on('error', reject)
  })
  const [answered] = await Promise.all([status, text(stream)])
  return answered
}

/** The values by name. A name that is there twice is sent twice. */
function grouped(fields: Fields): OutgoingHttpHeaders {
  const values: Record<string, string[]> = {}
  for (const [name, value] of fields) {
    const lower = name.toLowerCase()
    values[lower] = [...(values[lower] ?? []), value]
  }
  return values
}

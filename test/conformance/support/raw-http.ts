import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import type { Server } from 'node:net'
import { text } from 'node:stream/consumers'

/** Header fields as they go over the wire: their case, their order, and repetitions. */
export type Fields = readonly (readonly [string, string])[]

export type RawRequest = {
  readonly method?: string
  readonly path?: string
  readonly fields?: Fields
  readonly body?: string
  readonly isChunked?: boolean
  /** Sent after the body, which is chunked then. */
  readonly trailers?: Fields
}

export type RawAnswer = {
  readonly status: number | undefined
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

/** Sends a request just as it is said here, which fetch would not. */
export async function send(
  port: number,
  { method = 'GET', path = '/', fields = [], body, isChunked = false, trailers }: RawRequest,
): Promise<RawAnswer> {
  const framing: Fields =
    trailers !== undefined
      ? [
          ['Transfer-Encoding', 'chunked'],
          ['Trailer', trailers.map(([name]) => name).join(', ')],
        ]
      : isChunked
        ? [['Transfer-Encoding', 'chunked']]
        : body === undefined
          ? []
          : [['Content-Length', String(Buffer.byteLength(body))]]
  const host: Fields = [['Host', `127.0.0.1:${port}`]]
  const headers = [...host, ...fields, ...framing].flat()
  const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false })
  if (trailers !== undefined)
    sent.addTrailers(trailers.map(([name, value]): [string, string] => [name, value]))
  sent.end(body)
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    sent.on('response', resolve).on('error', reject)
  })
  return {
    status: response.statusCode,
    headers: response.headers,
    text: await text(response),
  }
}

export type Received = {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly fields: Fields
  readonly body: string
  readonly trailers: IncomingMessage['trailers']
}

/** A server that notes what reaches it, and answers always the same. */
export type RecordingServer = {
  readonly port: number
  readonly received: Received[]
  readonly close: () => void
}

export async function startRecordingServer(status = 200): Promise<RecordingServer> {
  const received: Received[] = []
  const server = createServer((incoming, response) => {
    const { method, url } = incoming
    const fields = fieldsOf(incoming)
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      received.push({ method, url, fields, body, trailers: incoming.trailers })
      response.writeHead(status).end('from the upstream')
    })
  })
  const port = await listen(server)
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { port, received, close }
}

/** Header fields just as they came. */
export function fieldsOf({ rawHeaders }: IncomingMessage): Fields {
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  const values = rawHeaders.filter((_, index) => index % 2 === 1)
  return names.map((name, index) => [name, values[index] ?? ''] as const)
}

/** @returns the port on which the server listens */
export async function listen(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

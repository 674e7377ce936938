import { err, ok, type Result } from '../../domain/result.ts'
import { factory } from '../env.ts'
import { problem } from '../problem.ts'

const BODY_MAX_BYTES = 64 * 1024
const BODY_DEADLINE_MS = 10_000

/**
 * Reads the whole body before anything looks at a credential or a clock: only then does the request
 * get its time. Otherwise a client that was thrown out while it sent its body would still act. GET
 * and HEAD bodies are never read.
 */
export const bodyLimit = factory.createMiddleware(async function bodyLimit(c, next) {
  const { method, raw } = c.req
  if (raw.body !== null && method !== 'GET' && method !== 'HEAD') {
    if (isEncoded(raw.headers)) return problem(c, 'unsupported_media_type', PLAIN_ONLY)
    if (Number(raw.headers.get('content-length')) > BODY_MAX_BYTES) {
      return problem(c, 'body_too_large')
    }
    const body = await readWhole(raw.body)
    if (!body.ok) return problem(c, body.reason)
    c.req.raw = new Request(raw, { method, body: body.value })
  }
  c.set('now', Date.now())
  return await next()
})

/** RFC 9110 §12.5.3: with a 415, Accept-Encoding says which encodings would have been taken. */
const PLAIN_ONLY = {
  detail: 'Send the body as it is, without a Content-Encoding.',
  headers: { 'Accept-Encoding': 'identity' },
}

/** Whether the body must be decoded, which nothing here does. A list may have empty elements. */
function isEncoded(headers: Headers): boolean {
  const codings = (headers.get('content-encoding') ?? '').split(',')
  return codings.some((coding) => !['', 'identity'].includes(coding.trim().toLowerCase()))
}

type BodyFault = 'body_too_large' | 'request_timeout' | 'incomplete_body'

/** The bytes of a stream, if they come whole, in time, and are not too many. */
async function readWhole(
  stream: ReadableStream<Uint8Array>,
): Promise<Result<Uint8Array, BodyFault>> {
  const reader = stream.getReader()
  const patience = new AbortController()
  const deadline = untilLate(patience.signal)
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for (;;) {
      const read = await Promise.race([reader.read(), deadline])
      if (read === 'late') return await giveUp(reader, 'request_timeout')
      if (read.done) return ok(Buffer.concat(chunks))
      length += read.value.length
      if (length > BODY_MAX_BYTES) return await giveUp(reader, 'body_too_large')
      chunks.push(read.value)
    }
  } catch {
    // The client has hung up, or broke its own framing: nothing failed here.
    return err('incomplete_body')
  } finally {
    patience.abort()
  }
}

async function untilLate(signal: AbortSignal): Promise<'late'> {
  await scheduler.wait(BODY_DEADLINE_MS, { signal })
  return 'late'
}

/** Stops reading. A read that is under way then rejects, which concerns nobody any more. */
async function giveUp<Reason>(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  reason: Reason,
): Promise<Result<never, Reason>> {
  await reader.cancel().catch(() => undefined)
  return err(reason)
}

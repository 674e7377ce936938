import type { Context } from 'hono'
import { routePath } from 'hono/route'
import type { Denial } from '../domain/evaluate-key.ts'
import type { IsolateState } from '../isolate/state.ts'
import { SettingsError } from '../settings.ts'
import type { AppContext, RootEnv } from './env.ts'
import type { ProblemCode } from './problems.ts'

const FRAMES_LOGGED = 8

/**
 * Writes this request's line, if it is worth one: a change, a denial of something genuine, or a
 * failure. A line costs more than a verify, and the platform already records invocations, so
 * successes are silent unless LOG_REQUESTS says `all`. No query, no body, no credential.
 */
export function logRequest(c: Context<RootEnv>, milliseconds: number): void {
  const { log, settings, isolate, recordedId, now } = c.var
  const { status } = c.res
  if (log.subject === 'made-up') isolate.log.note('made-up-credentials', now)
  const noteworthy =
    status >= 500 || log.subject === 'denial' || (log.subject === 'change' && status < 400)
  if (!noteworthy && settings.logRequests !== 'all') return
  const line = JSON.stringify({
    event: 'request',
    id: recordedId,
    method: c.req.method,
    route: routePath(c, -1),
    status,
    ms: milliseconds,
    user: log.userId,
    device: log.deviceId,
    key: log.keyId,
  })
  if (status >= 500) console.error(line)
  else console.info(line)
}

/** Notes for the log that a credential was refused: one that was made up is only counted. */
export function noteDenial(c: AppContext, denial: Denial): void {
  c.var.log.subject = denial === 'not_found' ? 'made-up' : 'denial'
}

/** Writes the line of a denial over RPC, where no request has one; what was made up is counted. */
export function logRpcDenial(
  isolate: IsolateState,
  code: Denial,
  whose: { readonly device: string | undefined; readonly key: string | undefined },
  now: number,
): void {
  if (code === 'not_found') isolate.log.note('made-up-credentials', now)
  else console.info(JSON.stringify({ event: 'rpc-denial', code, ...whose }))
}

/**
 * Writes what an unexpected failure was. Messages stay out unless they are D1's own: others can
 * quote SQL parameters (Drizzle) or the body (JSON.parse). The frames say where to look.
 * @param code the problem that the failure is answered with
 */
export function logFailure(requestId: string, thrown: unknown, code?: ProblemCode): void {
  const chain = causesOf(thrown)
  const [error] = chain
  console.error(
    JSON.stringify({
      event: 'failure',
      id: requestId,
      code,
      error: chain.map(({ name }) => name).join(' < '),
      settings: chain.find((cause) => cause instanceof SettingsError)?.faults,
      database: chain.map(d1Words).find((words) => words !== undefined),
      frames: error && framesOf(error).slice(0, FRAMES_LOGGED),
    }),
  )
}

/** An error, its cause, the cause of that, and so on. */
function causesOf(thrown: unknown): Error[] {
  const chain: Error[] = []
  for (let next = thrown; next instanceof Error && chain.length < 5; next = next.cause) {
    chain.push(next)
  }
  return chain
}

/** D1's own words. Those about a value of a wrong type end with the value. */
function d1Words({ message }: Error): string | undefined {
  return /^D1_\w*ERROR\b/.test(message) ? message.replace(/ for value .*/s, '') : undefined
}

/** A stack begins with the message, whose lines may look like frames. */
function framesOf({ stack = '', message }: Error): string[] {
  const start = stack.indexOf(message)
  const frames = start < 0 ? '' : stack.slice(start + message.length)
  return frames.split('\n').filter((line) => /^\s+at /.test(line))
}

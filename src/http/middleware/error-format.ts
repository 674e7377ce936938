import type { Hono } from 'hono'
import { type AppContext, type AppEnv, type ErrorRenderer, factory } from '../env.ts'
import type { OAuthErrorCode } from '../oauth-error.ts'
import { asProblemDocument } from '../problem.ts'
import type { Problem } from '../problem-types.ts'

/**
 * Says in which format the errors of a door's paths are, whatever fails there: it must stand before
 * whatever can fail.
 * @example
 *     app.route('/', errorsOf(classic, asMessage)).use(bodyLimit).route('/', classic)
 */
export function errorsOf(door: Pick<Hono<AppEnv>, 'routes'>, render: ErrorRenderer) {
  const setFormat = factory.createMiddleware(async function setFormat(c, next) {
    c.set('renderError', render)
    await next()
  })
  const app = factory.createApp()
  for (const path of new Set(door.routes.map((route) => route.path))) app.use(path, setFormat)
  return app
}

/** The classic clients' shape: `{"message"}`. */
export function asMessage(c: AppContext, problem: Problem): Response {
  const { errors = [], detail, status, headers } = problem
  const faults = errors.map((error) => `${error.pointer.slice(1)}: ${error.detail}`)
  return c.json({ message: faults.join('; ') || detail }, status, { ...headers })
}

const OAUTH_WORDS: Readonly<Record<number, readonly [OAuthErrorCode, string]>> = {
  400: ['invalid_request', 'The request could not be read.'],
  408: ['invalid_request', 'The body did not come in time.'],
  413: ['invalid_request', 'The body may hold 64 KiB.'],
  415: ['invalid_request', 'Send the body as it is, without a Content-Encoding.'],
  429: ['temporarily_unavailable', 'Too many requests: wait as long as Retry-After says.'],
  500: ['server_error', 'The failure was logged under the request id.'],
  503: ['temporarily_unavailable', 'The answer could not be found out. Try again.'],
}

/**
 * OAuth's own format (RFC 6749 §5.2), for failures behind its endpoints: a body that was too
 * large, an outage. A wrong method has reached no endpoint, and stays a problem document.
 */
export function asOAuthError(c: AppContext, problem: Problem): Response {
  const words = OAUTH_WORDS[problem.status]
  if (words === undefined) return asProblemDocument(c, problem)
  const [error, description] = words
  return c.json({ error, error_description: description }, problem.status, { ...problem.headers })
}

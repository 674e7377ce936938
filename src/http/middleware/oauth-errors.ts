import { factory } from '../env.ts'
import type { OAuthErrorCode } from '../form.ts'

const OAUTH_PATHS = '/oauth/'

const WORDS = {
  400: ['invalid_request', 'The request could not be read.'],
  413: ['invalid_request', 'The body may hold 64 KiB.'],
  429: ['temporarily_unavailable', 'Too many requests: wait as long as Retry-After says.'],
  500: ['server_error', 'The failure was logged under the request id.'],
  503: ['temporarily_unavailable', 'The answer could not be found out. Try again.'],
} as const satisfies Record<number, readonly [OAuthErrorCode, string]>

/**
 * Gives failures behind OAuth's endpoints OAuth's own format (RFC 6749 §5.2): a body that was too
 * large, an outage. A wrong path or method has reached no endpoint, and stays a problem document.
 */
export const oauthErrors = factory.createMiddleware(async function oauthErrors(c, next) {
  await next()
  const { status, headers } = c.res
  if (!c.req.path.startsWith(OAUTH_PATHS) || !isTranslated(status)) return
  if (headers.get('content-type') !== 'application/problem+json') return
  const [error, description] = WORDS[status]
  const kept = new Headers(headers)
  kept.set('Content-Type', 'application/json')
  const body = JSON.stringify({ error, error_description: description })
  c.res = new Response(body, { status, headers: kept })
})

function isTranslated(status: number): status is keyof typeof WORDS {
  return status in WORDS
}

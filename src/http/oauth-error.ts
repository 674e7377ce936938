import type { AppContext } from './env.ts'

/**
 * The errors of RFC 6749 §5.2, RFC 6750 §3.1, RFC 7009 §2.2.1, RFC 8628 §3.5 and RFC 8707 §2.
 */
export type OAuthErrorCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'invalid_scope'
  | 'insufficient_scope'
  | 'invalid_target'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'authorization_pending'
  | 'slow_down'
  | 'access_denied'
  | 'expired_token'
  | 'temporarily_unavailable'
  | 'server_error'

/**
 * Answers in OAuth's own format (RFC 6749 §5.2), which its clients parse; not as a problem.
 * @param description visible ASCII but for `"` and `\`: the RFC allows nothing else
 */
export function oauthError(
  c: AppContext,
  status: 400 | 401 | 403,
  error: OAuthErrorCode,
  description: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return c.json({ error, error_description: description }, status, { ...headers })
}

import { err, ok, type Result } from '../domain/result.ts'
import type { AppContext } from './env.ts'

/** The error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 7009 §2.2.1, RFC 8628 §3.5 and RFC 8707 §2. */
export type OAuthErrorCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'unsupported_token_type'
  | 'invalid_scope'
  | 'invalid_target'
  | 'authorization_pending'
  | 'slow_down'
  | 'access_denied'
  | 'expired_token'
  | 'temporarily_unavailable'
  | 'server_error'

const FORM_MEDIA_TYPE = 'application/x-www-form-urlencoded'

/** What must not come in a URI, which ends up in logs (RFC 6749 §2.3.1, RFC 6750 §5.3). */
const NEVER_IN_QUERY: ReadonlySet<string> = new Set([
  'client_id',
  'client_secret',
  'client_assertion',
  'device_code',
  'user_code',
  'token',
  'access_token',
  'refresh_token',
  'api_key',
  'username',
  'password',
])

/**
 * Answers with an error in OAuth's own format (RFC 6749 §5.2).
 * @param description a sentence without quotes or backslashes, which that section forbids
 */
export function oauthError(
  c: AppContext,
  status: 400 | 401 | 403 | 413 | 429 | 500 | 503,
  error: OAuthErrorCode,
  description: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return c.json({ error, error_description: description }, status, { ...headers })
}

/**
 * The parameters of a form (RFC 6749 §3.2, appendix B): each once, and those without a value as if
 * they were not there. The error is a description for `invalid_request`.
 */
export async function readForm(
  c: AppContext,
): Promise<Result<ReadonlyMap<string, string>, string>> {
  const [mediaType = ''] = (c.req.header('content-type') ?? '').split(';')
  if (mediaType.trim().toLowerCase() !== FORM_MEDIA_TYPE) return err(`Send ${FORM_MEDIA_TYPE}.`)
  const query = new URL(c.req.url).searchParams
  if ([...query.keys()].some((name) => NEVER_IN_QUERY.has(name))) {
    return err('Send parameters in the body, never in the query.')
  }
  // Not text(): the runtime warns that this is no text.
  const text = new TextDecoder().decode(await c.req.arrayBuffer())
  const fields = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (fields.has(name)) return err('A parameter was sent more than once.')
    fields.set(name, value)
  }
  return ok(new Map([...fields].filter(([, value]) => value !== '')))
}

/** A client's id and secret from its Basic header, each form-encoded (RFC 6749 §2.3.1). */
export function readBasic(
  authorization: string,
): { readonly id: string; readonly secret: string } | undefined {
  const [, encoded] = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization) ?? []
  if (encoded === undefined) return undefined
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? []
  if (id === undefined || secret === undefined) return undefined
  try {
    return { id: formDecoded(id), secret: formDecoded(secret) }
  } catch {
    return undefined
  }
}

function formDecoded(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}

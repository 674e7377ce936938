import type { Context } from 'hono'
import { err, ok, type Result } from '../domain/result.ts'
import type { AppContext } from './env.ts'

/** The errors of RFC 6749 §5.2, RFC 7009 §2.2.1, RFC 8628 §3.5, RFC 8707 §2 and RFC 6750 §3.1. */
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

/** The parameters of a form, each once. */
export type Form = ReadonlyMap<string, string>

const FORM = /^application\/x-www-form-urlencoded\s*(;|$)/i

/**
 * Answers in OAuth's own format (RFC 6749 §5.2), which its clients parse; not as a problem.
 * @param description visible ASCII but for `"` and `\`: the RFC allows nothing else
 */
export function oauthError(
  c: AppContext,
  status: 400 | 401 | 403 | 429,
  error: OAuthErrorCode,
  description: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return c.json({ error, error_description: description }, status, { ...headers })
}

/**
 * Reads the parameters of a request body. RFC 6749 §3.2: none may be repeated, and one without a
 * value counts as left out; §2.3.1: credentials never come in the query.
 */
export async function readForm(c: Pick<Context, 'req'>): Promise<Result<Form, string>> {
  const mediaType = c.req.header('content-type') ?? ''
  if (!FORM.test(mediaType)) return err('Send application/x-www-form-urlencoded.')
  if (new URL(c.req.url).search !== '')
    return err('Send parameters in the body, never in the query.')
  const form = new Map<string, string>()
  // As bytes: workerd warns where a form is read as text.
  const text = new TextDecoder().decode(await c.req.arrayBuffer())
  for (const [name, value] of new URLSearchParams(text)) {
    if (form.has(name)) return err('A parameter was sent more than once.')
    form.set(name, value)
  }
  for (const [name, value] of form) {
    if (value === '') form.delete(name)
  }
  return ok(form)
}

/** A client's id and secret, from the Authorization header or from the form. */
export type ClientCredentials = { readonly id: string; readonly secret: string }

/**
 * Takes client credentials from one place (RFC 6749 §2.3.1): Basic, whose two halves are themselves
 * form-encoded, or the form.
 */
export function readClientCredentials(
  headers: Headers,
  form: Form,
): Result<ClientCredentials, 'missing' | 'malformed' | 'several'> {
  const authorization = headers.get('authorization')
  const inForm = form.get('client_secret')
  if (authorization !== null) {
    if (inForm !== undefined) return err('several')
    const basic = readBasic(authorization)
    if (basic === undefined) return err('malformed')
    const named = form.get('client_id')
    return named === undefined || named === basic.id ? ok(basic) : err('several')
  }
  const id = form.get('client_id')
  return id === undefined || inForm === undefined ? err('missing') : ok({ id, secret: inForm })
}

function readBasic(authorization: string): ClientCredentials | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization)?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  if (colon < 0) return undefined
  try {
    return { id: formDecode(text.slice(0, colon)), secret: formDecode(text.slice(colon + 1)) }
  } catch {
    return undefined
  }
}

/** @throws URIError where a percent sign begins no escape */
function formDecode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}

import { err, ok, type Result } from '../../domain/result.ts'
import type { Form } from '../form.ts'

/** A client's id and secret, from the Authorization header or from the form. */
export type ClientCredentials = { readonly id: string; readonly secret: string }

/**
 * Takes client credentials from one place (RFC 6749 §2.3.1): from the form, or from Basic, whose
 * two halves are form-encoded.
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

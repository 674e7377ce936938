import { err, ok, type Result } from '../../domain/result.ts'

/** RFC 6750 §2.1, a little wider: imported secrets may hold any visible ASCII. */
const AUTHORIZATION = /^(\S+) +([\x21-\x7e]+)$/

export type CredentialFault =
  /** Nothing was presented. */
  | 'missing'
  /** Something was, but not one credential of an accepted form. */
  | 'malformed'
  /** More than one was. */
  | 'several'

/** For a device that has presented nothing: where that belongs. */
export const DEVICE_CREDENTIAL_PLACES =
  'A device presents its credential as Authorization: Bearer or Authorization: ApiKey, or in ' +
  'X-API-Key.'

/**
 * Takes a device's credential from the places that may hold one: `Authorization: Bearer` or
 * `ApiKey`, `X-API-Key`, and a field of the body where the route allows that. Never the query
 * string, which ends up in logs.
 */
export function readDeviceCredential(
  headers: Headers,
  bodyField?: unknown,
): Result<string, CredentialFault> {
  const found: Result<string, CredentialFault>[] = []
  const authorization = headers.get('authorization')
  const header = headers.get('x-api-key')
  // Another scheme, such as a proxy's Basic, is no second credential beside X-API-Key.
  const isOurs = authorization !== null && /^(bearer|apikey)\b/i.test(authorization)
  if (authorization !== null && (isOurs || !header)) {
    found.push(readAuthorization(authorization, ['bearer', 'apikey']))
  }
  if (header) found.push(readApiKeyHeader(header))
  if (bodyField !== undefined) {
    found.push(typeof bodyField === 'string' ? ok(bodyField) : err('malformed'))
  }
  const [first, second] = found.filter((place) => place.ok || place.reason !== 'missing')
  if (second !== undefined) return err('several')
  return first ?? err('missing')
}

/**
 * Takes what follows one of the schemes (in lower case) in an Authorization header. A scheme with
 * nothing after it presents nothing.
 */
export function readAuthorization(
  value: string,
  schemes: readonly string[],
): Result<string, CredentialFault> {
  const [, scheme = '', credential = ''] = AUTHORIZATION.exec(value) ?? []
  if (schemes.includes(scheme.toLowerCase())) return ok(credential)
  if (['', ...schemes].includes(value.trim().toLowerCase())) return err('missing')
  // A header sent twice arrives joined by a comma and a space, which no credential contains.
  return err(/,\s/.test(value) ? 'several' : 'malformed')
}

function readApiKeyHeader(value: string): Result<string, CredentialFault> {
  return /,\s/.test(value) ? err('several') : ok(value)
}

// What every proxy does, whatever its language. The templates beside this file write it down.

/** What Latchkey says of a device. The client's own are deleted, however they are spelt. */
export const IDENTITY = [
  'X-Device-Id',
  'X-Device-Name',
  'X-Owner-Id',
  'X-Key-Id',
  'X-Device-Scopes',
] as const

/**
 * What a field's name may hold beside letters, digits and hyphens (RFC 9110 §5.6.2). CGI makes `_` of
 * each, and of a hyphen, too (RFC 3875 §4.1.18): PHP reads `X.Device.Id` as `X-Device-Id`.
 */
export const ALIAS_MARKS = Array.from("_.~!#$%&'*+^`|")

/** Where a credential may be: all that Latchkey needs of a request. */
export const CREDENTIALS = ['Authorization', 'X-API-Key'] as const

/** What belongs to the body, to the connection or to the API, where a proxy sends all but these. */
export const NOT_FOR_LATCHKEY = [
  'Expect',
  'Connection',
  'Upgrade',
  'Sec-WebSocket-*',
  'Cookie',
  'CF-*',
] as const

/** After the API's 101 nobody is asked and nothing is deleted: no other protocol passes. */
export const UPGRADE = { field: 'Upgrade', protocol: 'websocket' } as const

/** What goes with an upgrade to HTTP/2 (RFC 7540 §3.2.1). */
export const HTTP2_SETTINGS = 'HTTP2-Settings'

/** It makes a tunnel, as an upgrade does. */
export const TUNNEL_METHOD = 'CONNECT'

/** Browsers send it without a key, so the API gets it unasked, with no identity. */
export const PREFLIGHT = {
  method: 'OPTIONS',
  /** Both with a value. */
  fields: ['Origin', 'Access-Control-Request-Method'],
  /** What asks for more than a preflight does is guarded. */
  absent: [...CREDENTIALS, UPGRADE.field],
} as const

/** Latchkey's refusals. What is none of these, and no 204, decides nothing. */
export const STATUS = { passed: 204, refused: [401, 403], overLimit: 429, undecided: 503 } as const

/** How long an undecided client should wait, if Latchkey said nothing of it. */
export const RETRY_AFTER_SECONDS = 5

/** What a refusal tells its client, besides its body. */
export const REFUSAL_FIELDS = [
  'WWW-Authenticate',
  'Retry-After',
  'RateLimit',
  'RateLimit-Policy',
  'Content-Type',
  'Cache-Control',
] as const

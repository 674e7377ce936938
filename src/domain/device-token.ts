import { err, ok, type Result } from './result.ts'
import { SECOND_MS } from './time.ts'

/** How long a token may be: one with 64 scopes of 128 characters takes some 12,000. */
export const TOKEN_MAX_CHARACTERS = 16_384

/** What a device token says (RFC 7519), once its signature is known to be ours. Times: seconds. */
export type DeviceTokenClaims = {
  /** The token's own id, by which it alone can be ended. */
  readonly tokenId: string
  readonly deviceId: string
  readonly deviceName: string
  readonly keyId: string
  readonly keyName: string
  readonly ownerId: string
  readonly ownerRole: 'user' | 'admin'
  /** The SHA-256 of the secret it was issued for: what is at rest of it, and no more. */
  readonly secretHash: string
  readonly scopes: readonly string[]
  readonly audiences: readonly string[]
  /** The newest entry of the revocation feed when it was issued. */
  readonly feedPosition: number
  /** Whether the key has limits, which every door of ours charges. */
  readonly isMetered: boolean
  readonly issuedAt: number
  readonly expiresAt: number
}

/** The audiences as RFC 7519 §4.1.3 writes them: a single one is no list. */
export function encodeAudiences(audiences: readonly string[]): string | readonly string[] {
  const [only] = audiences
  return audiences.length === 1 && only !== undefined ? only : audiences
}

/** The claims in their wire form, but for `iss`. */
export function encodeClaims(claims: DeviceTokenClaims): Record<string, unknown> {
  return {
    jti: claims.tokenId,
    aud: encodeAudiences(claims.audiences),
    sub: claims.deviceId,
    client_id: claims.deviceId,
    device_name: claims.deviceName,
    key_id: claims.keyId,
    key_name: claims.keyName,
    owner: claims.ownerId,
    owner_role: claims.ownerRole,
    secret_hash: claims.secretHash,
    scope: claims.scopes.join(' '),
    feed: claims.feedPosition,
    metered: claims.isMetered,
    iat: claims.issuedAt,
    exp: claims.expiresAt,
  }
}

/** Reads claims back; a token of ours that lacks one was made for something else. */
export function decodeClaims(
  payload: Readonly<Record<string, unknown>>,
): Result<DeviceTokenClaims, 'invalid'> {
  const text = (name: string) => (typeof payload[name] === 'string' ? payload[name] : undefined)
  const number = (name: string) => (typeof payload[name] === 'number' ? payload[name] : undefined)
  const scope = text('scope')
  const { metered, aud } = payload
  const audiences = typeof aud === 'string' ? [aud] : aud
  const found = {
    tokenId: text('jti'),
    audiences: isListOfText(audiences) ? audiences : undefined,
    deviceId: text('sub'),
    deviceName: text('device_name'),
    keyId: text('key_id'),
    keyName: text('key_name'),
    ownerId: text('owner'),
    secretHash: text('secret_hash'),
    scopes: scope?.split(' ').filter((name) => name !== ''),
    feedPosition: number('feed'),
    issuedAt: number('iat'),
    expiresAt: number('exp'),
  }
  if (!isComplete(found) || typeof metered !== 'boolean') return err('invalid')
  const ownerRole = payload['owner_role'] === 'admin' ? 'admin' : 'user'
  return ok({ ...found, ownerRole, isMetered: metered })
}

function isListOfText(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

type Complete<Fields> = { readonly [Name in keyof Fields]: Exclude<Fields[Name], undefined> }

function isComplete<Fields extends object>(fields: Fields): fields is Fields & Complete<Fields> {
  return Object.values(fields).every((value) => value !== undefined)
}

/** How far clocks may be apart without an entry of the feed being forgotten too early. */
const CLOCK_SLACK_MS = 120_000

/** Entries of the revocation feed from before this time concern no token that has not expired. */
export function feedCutoff(tokenSeconds: number, now: number): number {
  return now - tokenSeconds * SECOND_MS - CLOCK_SLACK_MS
}

/** Everything whose end ends the token. */
export function subjectsOfToken(claims: DeviceTokenClaims): readonly string[] {
  return [claims.tokenId, claims.secretHash, claims.keyId, claims.deviceId, claims.ownerId]
}

/** Looks like a JWT (RFC 7515 §3.1): three base64url parts. The first begins with `{"`. */
export function isTokenShaped(presented: string): boolean {
  return /^eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(presented)
}

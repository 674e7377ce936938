import { sha256 } from '../../crypto/digest.ts'
import { signToken, verifyToken } from '../../crypto/jwt.ts'
import {
  decodeClaims,
  type DeviceTokenClaims,
  encodeClaims,
  subjectsOfToken,
} from '../../domain/device-token.ts'
import type { KeyPolicySnapshot, KeySnapshot } from '../../domain/evaluate-key.ts'
import type { IsolateState } from '../../isolate/state.ts'
import type { Settings } from '../../settings.ts'
import { isLimited } from '../verify/charge-key.ts'
import { currentFeed } from '../verify/read-feed.ts'

/** A token to call with, and for how long (seconds). */
export type IssuedToken = {
  readonly token: string
  readonly expiresIn: number
  readonly scopes: readonly string[]
}

/** Signs a device token for a secret that D1 has just called good; it never outlives either. */
export async function issueDeviceToken(
  snapshot: KeySnapshot,
  policy: KeyPolicySnapshot,
  request: {
    readonly secretHash: string
    readonly scopes: readonly string[]
    readonly audience: string
  },
  settings: Settings,
  now: number,
): Promise<IssuedToken> {
  const { key, device, owner } = policy
  const issuedAt = Math.floor(now / 1000)
  const ends = [snapshot.secret.expiresAt, key.expiresAt].filter((end) => end !== null)
  const expiresAt = Math.min(
    issuedAt + settings.deviceTokenSeconds,
    ...ends.map((end) => Math.floor(end / 1000)),
  )
  const claims: DeviceTokenClaims = {
    ...request,
    deviceId: device.id,
    deviceName: device.name,
    keyId: key.id,
    keyName: key.name,
    ownerId: owner.id,
    ownerRole: owner.role,
    feedPosition: snapshot.feedPosition,
    isMetered: isLimited(key.limits),
    issuedAt,
    expiresAt,
  }
  const payload = { iss: settings.publicUrl, jti: crypto.randomUUID(), ...encodeClaims(claims) }
  const token = await signToken(payload, settings.signingKeys)
  return { token, expiresIn: expiresAt - issuedAt, scopes: request.scopes }
}

/** What is known of a genuine device token: what it claims, and whether it is over. */
export type KnownToken = {
  readonly claims: DeviceTokenClaims
  readonly end: 'expired' | 'revoked' | null
}

export type TokenWorld = {
  readonly database: D1Database
  readonly settings: Settings
  /** Milliseconds. */
  readonly now: number
  readonly isolate: IsolateState
}

/**
 * A device token's claims, and whether it has expired or one of its subjects has ended; undefined:
 * it is no token of ours.
 * @throws Unavailable when the feed can't be read and what is known of it is too old
 */
export async function verifyDeviceToken(
  token: string,
  world: TokenWorld,
  fresh: boolean,
): Promise<KnownToken | undefined> {
  const { database, settings, now, isolate } = world
  const claims = await genuineClaims(token, world)
  if (claims === undefined) return undefined
  // No older than today's setting allows either: the feed forgets by it.
  const end = Math.min(claims.expiresAt, claims.issuedAt + settings.deviceTokenSeconds)
  if (now >= end * 1000) return { claims, end: 'expired' }
  const feed = await currentFeed({ database, feed: isolate.feed, settings, now }, fresh)
  const hasEnded = feed.hasEnded(subjectsOfToken(claims), claims.feedPosition)
  return { claims, end: hasEnded ? 'revoked' : null }
}

/** The signature is checked once an isolate; an unknown `kid` is refused without I/O. */
async function genuineClaims(
  token: string,
  { settings, now, isolate }: TokenWorld,
): Promise<DeviceTokenClaims | undefined> {
  const hash = await sha256(token)
  const known = isolate.tokens.get(hash)
  if (known !== undefined) return known
  const expected = {
    ring: settings.signingKeys,
    issuer: settings.publicUrl,
    audiences: settings.deviceTokenAudiences,
    allowExpired: true,
  }
  const verified = await verifyToken(token, expected, now)
  const claims = verified.ok ? decodeClaims(verified.value) : verified
  if (!claims.ok) return undefined
  isolate.tokens.keep(hash, claims.value)
  return claims.value
}

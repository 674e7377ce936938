import { sha256 } from '../crypto/digest.ts'
import { signToken, verifyToken } from '../crypto/jwt.ts'
import {
  decodeClaims,
  type DeviceTokenClaims,
  encodeClaims,
  subjectsOfToken,
} from '../domain/device-token.ts'
import type { KeyPolicySnapshot, KeySnapshot } from '../domain/evaluate-key.ts'
import { err, ok, type Result } from '../domain/result.ts'
import type { IsolateState } from '../edge/isolate-state.ts'
import type { Settings } from '../settings.ts'
import { isLimited } from './charge.ts'
import { currentFeed } from './revocation-feed.ts'

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

/** A device token's claims, if it is genuine, not expired and none of its subjects has ended. */
export async function verifyDeviceToken(
  token: string,
  world: {
    readonly database: D1Database
    readonly settings: Settings
    readonly now: number
    readonly isolate: IsolateState
  },
  fresh: boolean,
): Promise<Result<DeviceTokenClaims, 'not_ours' | 'expired' | 'revoked'>> {
  const { database, settings, now, isolate } = world
  const claims = await genuineClaims(token, world)
  if (!claims.ok) return claims
  if (now >= claims.value.expiresAt * 1000) return err('expired')
  const feed = await currentFeed({ database, feed: isolate.feed, settings, now }, fresh)
  const { feedPosition } = claims.value
  return feed.hasEnded(subjectsOfToken(claims.value), feedPosition) ? err('revoked') : claims
}

/** The signature is checked once an isolate; an unknown `kid` is refused without I/O. */
async function genuineClaims(
  token: string,
  {
    settings,
    now,
    isolate,
  }: { readonly settings: Settings; readonly now: number; readonly isolate: IsolateState },
): Promise<Result<DeviceTokenClaims, 'not_ours' | 'expired'>> {
  const hash = await sha256(token)
  const known = isolate.tokens.get(hash)
  if (known !== undefined) return ok(known)
  const expected = {
    ring: settings.signingKeys,
    issuer: settings.publicUrl,
    audiences: settings.deviceTokenAudiences,
  }
  const verified = await verifyToken(token, expected, now)
  if (!verified.ok) return err(verified.reason === 'expired' ? 'expired' : 'not_ours')
  const claims = decodeClaims(verified.value)
  if (!claims.ok) return err('not_ours')
  isolate.tokens.keep(hash, claims.value)
  return claims
}

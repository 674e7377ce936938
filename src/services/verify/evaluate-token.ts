import { sha256 } from '../../crypto/digest.ts'
import { type Expected, typeOf, verifyToken } from '../../crypto/jwt.ts'
import {
  decodeClaims,
  type DeviceTokenClaims,
  isTokenShaped,
  subjectsOfToken,
} from '../../domain/device-token.ts'
import {
  evaluateKey,
  type KeyPolicySnapshot,
  type KeyRefusal,
  type KeySnapshot,
  type KeyWant,
} from '../../domain/evaluate-key.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'
import { findSnapshot } from './find-snapshot.ts'
import { currentFeed } from './read-feed.ts'

type TokenRequest = KeyWant & {
  readonly presented: string
  readonly fresh?: boolean
  /** The audience that the token must name, or `any`; PUBLIC_URL unless said. */
  readonly audience?: string | undefined
}

/** The decision on a token of ours, short of its limits. */
export type EvaluatedToken =
  | {
      readonly claims: DeviceTokenClaims
      readonly policy: KeyPolicySnapshot
      readonly denial: null
    }
  | {
      readonly claims: DeviceTokenClaims
      readonly policy: KeyPolicySnapshot | null
      readonly denial: KeyRefusal
    }

/**
 * Decides on a presented device token, short of its limits; undefined: it is no token of ours. No
 * I/O within a poll period, but for a metered one: that is charged as its secret is, so the key's
 * limits are looked up as its are.
 * @throws Unavailable when the feed can't be read and what is known of it is too old
 */
export async function evaluateToken(
  ctx: VerifyContext,
  request: TokenRequest,
): Promise<EvaluatedToken | undefined> {
  const { settings, now } = ctx
  const { presented, fresh = false, audience = settings.publicUrl } = request
  if (!isTokenShaped(presented)) return undefined
  const claims = await genuineClaims(ctx, presented)
  if (claims === undefined) return undefined
  if (audience !== 'any' && !claims.audiences.includes(audience)) return undefined
  const end = await endOf(ctx, claims, fresh)
  if (end !== null) return { claims, policy: snapshotOf(claims).policy, denial: end }
  const snapshot = claims.isMetered ? await findNarrowed(ctx, claims, fresh) : snapshotOf(claims)
  if (snapshot === undefined) return { claims, policy: null, denial: 'revoked' }
  const evaluated = evaluateKey(snapshot, request, now, settings.reservedScopes)
  return evaluated.ok
    ? { claims, policy: evaluated.value, denial: null }
    : { claims, policy: snapshot.policy, denial: evaluated.reason }
}

/** The signature is checked once an isolate; an unknown `kid` is refused without I/O. */
async function genuineClaims(
  { settings, now, isolate }: VerifyContext,
  token: string,
): Promise<DeviceTokenClaims | undefined> {
  const hash = await sha256(token)
  const known = isolate.tokens.get(hash)
  if (known !== undefined) return known
  const expected: Expected = {
    ring: settings.signingKeys,
    issuer: settings.publicUrl,
    audiences: settings.deviceTokenAudiences,
    types: ['at+jwt', 'JWT'],
    allowExpired: true,
  }
  const verified = await verifyToken(token, expected, now)
  const claims = verified.ok ? decodeClaims(verified.value) : verified
  if (!claims.ok) return undefined
  // Versions before this one signed them as `JWT`, and may go on while a deploy rolls out.
  const rolledOutBy = (isolate.startedAt ?? now) / SECOND_MS + settings.deviceTokenSeconds
  if (typeOf(token) === 'JWT' && claims.value.issuedAt > rolledOutBy) return undefined
  isolate.tokens.keep(hash, claims.value)
  return claims.value
}

/** Whether a token has expired, or one of its subjects has ended. */
async function endOf(
  ctx: VerifyContext,
  claims: DeviceTokenClaims,
  fresh: boolean,
): Promise<'expired' | 'revoked' | null> {
  const { settings, now } = ctx
  // No older than today's setting allows either: the feed forgets by it.
  const end = Math.min(claims.expiresAt, claims.issuedAt + settings.deviceTokenSeconds)
  if (now >= end * SECOND_MS) return 'expired'
  const subjects = subjectsOfToken(claims)
  const feed = await currentFeed(ctx, subjects, fresh)
  return feed.hasEnded(subjects, claims.feedPosition) ? 'revoked' : null
}

/** The key of a metered token, narrowed to the token's scopes and to its end. */
async function findNarrowed(
  ctx: VerifyContext,
  { secretHash, scopes, expiresAt }: DeviceTokenClaims,
  fresh: boolean,
): Promise<KeySnapshot | undefined> {
  const snapshot = await findSnapshot(ctx, secretHash, fresh)
  if (snapshot === undefined || snapshot.policy === null) return undefined
  const { policy } = snapshot
  const end = Math.min(policy.key.expiresAt ?? Infinity, expiresAt * SECOND_MS)
  return { ...snapshot, policy: { ...policy, key: { ...policy.key, scopes, expiresAt: end } } }
}

/** What a token claims, in the words in which D1 would say it. */
function snapshotOf(claims: DeviceTokenClaims): KeySnapshot & { policy: KeyPolicySnapshot } {
  const key = {
    id: claims.keyId,
    name: claims.keyName,
    scopes: claims.scopes,
    expiresAt: claims.expiresAt * SECOND_MS,
    disabledAt: null,
    revokedAt: null,
    limits: { rateLimit: null, quota: null },
  }
  return {
    secret: {
      expiresAt: null,
      revokedAt: null,
      isRetiredUseNoted: false,
      isFirstUseNoted: true,
      isReplacement: false,
      isImported: false,
    },
    ownerId: claims.ownerId,
    policy: {
      key,
      device: { id: claims.deviceId, name: claims.deviceName, disabledAt: null },
      owner: { id: claims.ownerId, role: claims.ownerRole, disabledAt: null },
    },
    feedPosition: claims.feedPosition,
  }
}

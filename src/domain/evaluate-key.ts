import type { MeterPolicy } from './meter.ts'
import { err, ok, type Result } from './result.ts'
import { coversScopes, type ReservedScopes, verifierReach } from './scopes.ts'

/** A "no" to a presented credential. The words are the wire's. */
export type Denial =
  | 'not_found'
  | 'revoked'
  | 'expired'
  | 'disabled'
  | 'insufficient_scope'
  | 'rate_limited'
  | 'quota_exceeded'

/**
 * What the database knows of one secret, at one moment: plain data, which may be kept and shared
 * between requests. Times are milliseconds since the epoch.
 */
export type KeySnapshot = {
  readonly secret: SecretSnapshot
  /** Whose it is, also when only a tombstone is left. */
  readonly ownerId: string
  /** Null on a tombstone: the key was deleted. */
  readonly policy: KeyPolicySnapshot | null
  /** The newest number of the revocation feed when this was read. */
  readonly feedPosition: number
}

type SecretSnapshot = {
  readonly expiresAt: number | null
  readonly revokedAt: number | null
  /** Whether its use after its end is on record already. */
  readonly isRetiredUseNoted: boolean
  /** Whether its first use is on record already. */
  readonly isFirstUseNoted: boolean
  /** Whether another secret lives until its first use. */
  readonly isReplacement: boolean
  /** Whether another system made it. */
  readonly isImported: boolean
}

export type KeyPolicySnapshot = {
  readonly key: {
    readonly id: string
    readonly name: string
    readonly scopes: readonly string[]
    readonly expiresAt: number | null
    readonly disabledAt: number | null
    readonly revokedAt: number | null
    readonly limits: MeterPolicy
  }
  readonly device: {
    readonly id: string
    readonly name: string
    readonly disabledAt: number | null
  }
  readonly owner: {
    readonly id: string
    readonly role: 'user' | 'admin'
    readonly disabledAt: number | null
  }
}

/** What a request wants of a key. */
export type KeyWant = {
  /** Literal scopes, all of which the key must cover. */
  readonly scopes?: readonly string[]
  /** Whether the key must be one that may ask about others. */
  readonly asVerifier?: boolean
}

/** A "no" that the key's own state gives, before its limits. */
export type KeyRefusal = 'revoked' | 'expired' | 'disabled' | 'insufficient_scope'

/**
 * Decides whether a genuine secret is good now for this request. If several reasons refuse it, the
 * first of these is told: revoked, expired, disabled, scope. At its end, a key is not valid.
 */
export function evaluateKey(
  snapshot: KeySnapshot,
  { scopes = [], asVerifier = false }: KeyWant,
  now: number,
  reserved: ReservedScopes,
): Result<KeyPolicySnapshot, KeyRefusal> {
  const { secret, policy } = snapshot
  if (policy === null || secret.revokedAt !== null || policy.key.revokedAt !== null) {
    return err('revoked')
  }
  if (hasEnded(secret.expiresAt, now) || hasEnded(policy.key.expiresAt, now)) return err('expired')
  const { key, device, owner } = policy
  if (key.disabledAt !== null || device.disabledAt !== null || owner.disabledAt !== null) {
    return err('disabled')
  }
  const isVerifier = verifierReach(key.scopes, owner.role) !== undefined
  const isCovered = coversScopes(key.scopes, scopes, reserved) && (isVerifier || !asVerifier)
  return isCovered ? ok(policy) : err('insufficient_scope')
}

/**
 * Whether nothing can make the secret good again, as a later expiry or enabling its key could. What
 * ends a secret by time, an overlap, is never moved back.
 */
export function isOverForGood({ secret, policy }: KeySnapshot, now: number): boolean {
  if (policy === null || secret.revokedAt !== null || policy.key.revokedAt !== null) return true
  return hasEnded(secret.expiresAt, now)
}

/** Whether a rotation ended the secret while its key lives on: somebody still holds the old one. */
export function isRetiredSecret(snapshot: KeySnapshot, now: number): boolean {
  const { secret, policy } = snapshot
  if (policy === null || policy.key.revokedAt !== null) return false
  if (hasEnded(policy.key.expiresAt, now)) return false
  return secret.revokedAt !== null || hasEnded(secret.expiresAt, now)
}

function hasEnded(expiresAt: number | null, now: number): boolean {
  return expiresAt !== null && now >= expiresAt
}

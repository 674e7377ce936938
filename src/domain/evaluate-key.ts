import { err, ok, type Result } from './result.ts'

/** A "no" to a presented credential. The words are the wire's (DESIGN: denial). */
export type Denial = 'not_found' | 'revoked' | 'expired' | 'disabled'

/**
 * What the database knows of one secret, at one moment. Times are milliseconds since the epoch.
 * A secret without a policy is a tombstone: its key was deleted.
 */
export type KeySnapshot = {
  readonly secret: { readonly expiresAt: number | null; readonly revokedAt: number | null }
  readonly policy: KeyPolicySnapshot | null
}

export type KeyPolicySnapshot = {
  readonly key: {
    readonly id: string
    readonly name: string
    readonly scopes: readonly string[]
    readonly expiresAt: number | null
    readonly disabledAt: number | null
    readonly revokedAt: number | null
  }
  readonly device: {
    readonly id: string
    readonly name: string
    readonly disabledAt: number | null
  }
  readonly owner: { readonly id: string; readonly disabledAt: number | null }
}

/**
 * Decides whether a genuine secret is good now. What is final is said before what may pass:
 * revoked, then expired, then disabled. A key is valid until, and not at, its end.
 */
export function evaluateKey(
  snapshot: KeySnapshot,
  now: number,
): Result<KeyPolicySnapshot, Exclude<Denial, 'not_found'>> {
  const { secret, policy } = snapshot
  if (policy === null || secret.revokedAt !== null || policy.key.revokedAt !== null) {
    return err('revoked')
  }
  if (hasEnded(secret.expiresAt, now) || hasEnded(policy.key.expiresAt, now)) return err('expired')
  const { key, device, owner } = policy
  if (key.disabledAt !== null || device.disabledAt !== null || owner.disabledAt !== null) {
    return err('disabled')
  }
  return ok(policy)
}

function hasEnded(expiresAt: number | null, now: number): boolean {
  return expiresAt !== null && now >= expiresAt
}

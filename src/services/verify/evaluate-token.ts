import { type DeviceTokenClaims, isTokenShaped } from '../../domain/device-token.ts'
import { evaluateKey, type KeyPolicySnapshot, type KeySnapshot } from '../../domain/evaluate-key.ts'
import { coversScopes } from '../../domain/scopes.ts'
import { type TokenWorld, verifyDeviceToken } from '../keys/issue-device-token.ts'
import { findSnapshot } from './find-snapshot.ts'

export type TokenRequest = {
  readonly presented: string
  readonly scopes: readonly string[]
  readonly fresh: boolean
  /** The only audience that counts; undefined: any of this deployment's. */
  readonly audience: string | undefined
}

/** What a token of ours comes to before its limits; undefined: it is no token of ours. */
export type EvaluatedToken =
  | {
      readonly claims: DeviceTokenClaims
      readonly policy: KeyPolicySnapshot
      readonly denial: null
    }
  | {
      readonly claims: DeviceTokenClaims
      readonly policy: KeyPolicySnapshot | null
      readonly denial: 'revoked' | 'expired' | 'disabled' | 'insufficient_scope'
    }

/**
 * Decides on a presented device token, short of its limits. No I/O within a poll period, but for a
 * metered one: that is charged as its secret is, so the key's limits are looked up as its are.
 */
export async function evaluateToken(
  world: TokenWorld,
  { presented, scopes, fresh, audience }: TokenRequest,
): Promise<EvaluatedToken | undefined> {
  if (!isTokenShaped(presented)) return undefined
  const known = await verifyDeviceToken(presented, world, fresh)
  if (known === undefined) return undefined
  const { claims, end } = known
  if (audience !== undefined && audience !== claims.audience) return undefined
  if (end !== null) return { claims, policy: policyOf(claims), denial: end }
  if (claims.isMetered) return await evaluateMetered(world, claims, scopes, fresh)
  const policy = policyOf(claims)
  if (!coversScopes(claims.scopes, scopes)) return { claims, policy, denial: 'insufficient_scope' }
  return { claims, policy, denial: null }
}

async function evaluateMetered(
  { database, settings, now, isolate }: TokenWorld,
  claims: DeviceTokenClaims,
  scopes: readonly string[],
  fresh: boolean,
): Promise<EvaluatedToken> {
  const source = { database, settings, now, cache: isolate.cache }
  const snapshot = await findSnapshot(source, claims.secretHash, fresh)
  if (snapshot === undefined || snapshot.policy === null) {
    return { claims, policy: null, denial: 'revoked' }
  }
  const narrowed = narrow(snapshot, snapshot.policy, claims)
  const evaluated = evaluateKey(narrowed, scopes, now)
  if (evaluated.ok) return { claims, policy: evaluated.value, denial: null }
  return { claims, policy: narrowed.policy, denial: evaluated.reason }
}

/** The key as the token holds it: with no more scopes than were asked for. */
function narrow(
  snapshot: KeySnapshot,
  policy: KeyPolicySnapshot,
  claims: DeviceTokenClaims,
): KeySnapshot {
  return { ...snapshot, policy: { ...policy, key: { ...policy.key, scopes: claims.scopes } } }
}

function policyOf(claims: DeviceTokenClaims): KeyPolicySnapshot {
  return {
    key: {
      id: claims.keyId,
      name: claims.keyName,
      scopes: claims.scopes,
      expiresAt: claims.expiresAt * 1000,
      disabledAt: null,
      revokedAt: null,
      limits: { rateLimit: null, quota: null },
    },
    device: { id: claims.deviceId, name: claims.deviceName, disabledAt: null },
    owner: { id: claims.ownerId, role: claims.ownerRole, disabledAt: null },
  }
}

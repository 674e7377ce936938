import type { Denial, KeyPolicySnapshot } from '../domain/evaluate-key.ts'
import { type Verification, verifyKey, type VerifyRequest, type VerifyWorld } from './verify.ts'

/**
 * A decision in the wire's words, for verifiers: the body of `POST /v1/keys/verify` and what the
 * `KeyVerifier` answers. Of a denied key it tells as much as of a good one; of another owner's, and
 * of what was made up, only `not_found`.
 */
export type VerifyResult = {
  readonly valid: boolean
  readonly code: 'valid' | Denial
  readonly device?: { readonly id: string; readonly name: string }
  readonly owner?: { readonly id: string }
  readonly key?: {
    readonly id: string
    readonly name: string
    readonly scopes: readonly string[]
    /** RFC 3339, or null: it does not expire by itself. */
    readonly expires_at: string | null
  }
}

/**
 * Verifies on behalf of somebody who may ask about one owner's keys, or about all.
 * @param ownerId the only owner whose keys count; undefined: everyone's do
 * @throws Unavailable as verifyKey does
 */
export async function verifyFor(
  ownerId: string | undefined,
  world: VerifyWorld,
  request: VerifyRequest,
): Promise<VerifyResult> {
  const verified = await verifyKey(world, request)
  if (ownerId !== undefined && verified.ownerId !== null && verified.ownerId !== ownerId) {
    return { valid: false, code: 'not_found' }
  }
  return toResult(verified)
}

function toResult(verified: Verification): VerifyResult {
  const code = verified.valid ? 'valid' : verified.denial
  const { ownerId, policy } = verified
  return {
    valid: verified.valid,
    code,
    ...(ownerId === null ? {} : { owner: { id: ownerId } }),
    ...(policy === null ? {} : identityOf(policy)),
  }
}

function identityOf({ device, key }: KeyPolicySnapshot): Pick<VerifyResult, 'device' | 'key'> {
  const { id, name, scopes, expiresAt } = key
  return {
    device: { id: device.id, name: device.name },
    key: {
      id,
      name,
      scopes,
      expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    },
  }
}

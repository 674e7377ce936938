import type { Denial, KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import type { MeterReading } from '../../domain/meter.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { rfc3339 } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'
import { type Denied, type Verified, verifyKey, type VerifyRequest } from './verify-key.ts'

/**
 * A decision in the wire's words, for verifiers: the body of `POST /v1/keys/verify` and what the
 * `KeyVerifier` answers. Of a denied key it tells as much as of a good one; of another owner's, and
 * of what was made up, only `not_found`.
 */
export type VerifyResult = VerifyCode & {
  readonly device?: { readonly id: string; readonly name: string }
  readonly owner?: { readonly id: string }
  readonly key?: {
    readonly id: string
    readonly name: string
    readonly scopes: readonly string[]
    /** RFC 3339, or null: it does not expire by itself. */
    readonly expires_at: string | null
  }
  readonly rate_limit?: LimitReading
  readonly quota?: LimitReading
  /** Only when false: the limits could not be asked, and the deployment lets requests through. */
  readonly metered?: false
}

type VerifyCode =
  | { readonly valid: true; readonly code: 'valid' }
  | { readonly valid: false; readonly code: Denial }

/** How a limit stands after the request. */
export type LimitReading = {
  readonly limit: number
  readonly remaining: number
  /**
   * RFC 3339. After a refusal: when a retry would pass. Else: when something that was spent comes
   * back. Null: never, or nothing is spent.
   */
  readonly reset_at: string | null
}

/**
 * Verifies on behalf of somebody else. `throttled`: the asker has presented so many unknown secrets
 * that nobody looked, which says nothing about this one.
 * @throws Unavailable as verifyKey does
 */
export async function verifyFor(
  ctx: VerifyContext,
  request: VerifyRequest,
): Promise<Result<VerifyResult, 'throttled'>> {
  const verified = await verifyKey(ctx, request)
  if (!verified.valid && verified.kind === 'throttled') return err('throttled')
  const { ownerId, policy, meter } = verified
  return ok({
    ...codeOf(verified),
    ...(ownerId === null ? {} : { owner: { id: ownerId } }),
    ...(policy === null ? {} : identityOf(policy)),
    ...(meter?.rateLimit ? { rate_limit: wireReading(meter.rateLimit) } : {}),
    ...(meter?.quota ? { quota: wireReading(meter.quota) } : {}),
    ...(verified.valid && !verified.isMetered ? { metered: false } : {}),
  })
}

function codeOf(verified: Verified | Denied): VerifyCode {
  return verified.valid ? { valid: true, code: 'valid' } : { valid: false, code: verified.denial }
}

function identityOf({ device, key }: KeyPolicySnapshot): Pick<VerifyResult, 'device' | 'key'> {
  const { id, name, scopes, expiresAt } = key
  return {
    device: { id: device.id, name: device.name },
    key: { id, name, scopes, expires_at: expiresAt === null ? null : rfc3339(expiresAt) },
  }
}

function wireReading({ limit, remaining, resetAt }: MeterReading): LimitReading {
  return { limit, remaining, reset_at: resetAt === null ? null : rfc3339(resetAt) }
}

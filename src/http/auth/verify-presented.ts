import type { VerifyContext } from '../../services/context.ts'
import type { Caller } from '../../services/verify/throttle-unknown.ts'
import {
  type Denied,
  type Throttled,
  type Verification,
  verifyKey,
  type VerifyRequest,
} from '../../services/verify/verify-key.ts'
import { clientIp, countryOf } from '../client.ts'
import type { AppContext } from '../env.ts'
import { limitHeaders } from '../limit-headers.ts'
import { denied, overLimit, throttled } from './refuse.ts'

/**
 * Verifies the credential that this request's own caller presents. Notes for the log whose it is,
 * and puts on the response how its limits stand.
 */
export async function verifyPresented(
  c: AppContext,
  ctx: VerifyContext,
  presented: string,
  asked: Omit<VerifyRequest, 'presented' | 'caller'>,
): Promise<Verification> {
  const verified = await verifyKey(ctx, { presented, ...asked, caller: callerOf(c) })
  if (!verified.valid && verified.kind === 'throttled') return verified
  const { policy, meter } = verified
  c.var.log.deviceId = policy?.device.id
  c.var.log.keyId = policy?.key.id
  if (policy !== null && meter !== null) {
    Object.assign(c.var.headers, limitHeaders(policy.key.limits, meter, ctx.now))
  }
  return verified
}

/** Who presents a credential through this request, of their own. */
function callerOf(c: AppContext): Caller {
  return {
    ip: clientIp(c),
    country: countryOf(c),
    requestId: c.var.recordedId,
    limiters: c.env,
  }
}

/** A caller that asks about somebody else's credential: the holder's country is not known. */
export function verifierOf(c: AppContext): Caller {
  return { ...callerOf(c), country: null }
}

/** Answers a "no" to this request's own caller. */
export function refused(
  c: AppContext,
  refusal: Denied | Throttled,
  scopes: readonly string[] = [],
): Response {
  if (refusal.kind === 'throttled') return throttled(c)
  const { denial, meter } = refusal
  if (meter === null || meter.refusedBy === null) return denied(c, denial, scopes)
  return overLimit(c, meter.refusedBy, meter)
}

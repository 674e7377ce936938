import { limitedNetwork } from '../../domain/network.ts'
import { MINUTE_MS } from '../../domain/time.ts'
import { chargeLimiter } from '../charge-limiter.ts'
import type { VerifyContext } from '../context.ts'

/** Who presents a secret: for the limit on unknown ones, and for the audit. */
export type Caller = {
  readonly ip: string | null
  /** The country (two letters) in which the edge saw the caller. */
  readonly country: string | null
  readonly requestId: string | null
  /** Allows so many unknown secrets a network and minute. */
  readonly limiter: RateLimit
}

const BLOCKED_MS = MINUTE_MS

/** Whether this network presented so many unknown secrets that D1 is not asked for more now. */
export function isCallerBlocked({ isolate, now }: VerifyContext, caller: Caller): boolean {
  return isolate.blockedNetworks.isBlocked(networkOf(caller), now)
}

/** Charges a secret that could not be checked and that D1 does not know. */
export async function chargeUnknownSecret(
  { isolate, now }: VerifyContext,
  caller: Caller,
): Promise<void> {
  const key = networkOf(caller)
  if (!(await chargeLimiter(caller.limiter, key)))
    isolate.blockedNetworks.block(key, now + BLOCKED_MS)
}

function networkOf({ ip }: Caller): string {
  return limitedNetwork(ip ?? 'none')
}

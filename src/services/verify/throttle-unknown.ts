import { originOf } from '../../domain/network.ts'
import { MINUTE_MS } from '../../domain/time.ts'
import { chargeLimiter } from '../charge-limiter.ts'
import type { VerifyContext } from '../context.ts'

/** Who presents a secret: for the limit on unknown ones, and for the audit. */
export type Caller = {
  readonly ip: string | null
  /** The country (two letters) in which the edge saw the caller. */
  readonly country: string | null
  readonly requestId: string | null
  /** They allow so many unknown secrets a network, or an IPv6 site, and minute. */
  readonly limiters: Pick<Env, 'UNKNOWN_SECRET_LIMITER' | 'UNKNOWN_SECRET_LIMITER_SITE'>
}

const BLOCKED_MS = MINUTE_MS

/** Whether this network presented so many unknown secrets that D1 is not asked for more now. */
export function isCallerBlocked({ isolate, now }: VerifyContext, { ip }: Caller): boolean {
  const { network, site } = originOf(ip)
  const { blockedNetworks } = isolate
  return (
    blockedNetworks.isBlocked(network, now) ||
    (site !== null && blockedNetworks.isBlocked(site, now))
  )
}

/** Charges a secret that could not be checked and that D1 does not know. */
export async function chargeUnknownSecret(
  { isolate, now }: VerifyContext,
  { ip, limiters }: Caller,
): Promise<void> {
  const { network, site } = originOf(ip)
  const until = now + BLOCKED_MS
  if (!(await chargeLimiter(limiters.UNKNOWN_SECRET_LIMITER, network))) {
    isolate.blockedNetworks.block(network, until)
  } else if (site !== null && !(await chargeLimiter(limiters.UNKNOWN_SECRET_LIMITER_SITE, site))) {
    isolate.blockedNetworks.block(site, until)
  }
}

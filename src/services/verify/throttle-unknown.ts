import { limitedNetwork } from '../../domain/network.ts'
import { unknownCallers } from '../../isolate/blocked-networks.ts'

/** Who presents a secret: for the limit on unknown ones, and for the audit. */
export type Caller = {
  readonly ip: string | null
  readonly requestId: string | null
  /** Allows so many unknown secrets a network and minute. */
  readonly limiter: RateLimit
}

const WINDOW_MS = 60_000

/** Whether this network presented so many unknown secrets that D1 is not asked for more now. */
export function isCallerBlocked(caller: Caller, now: number): boolean {
  return unknownCallers.isBlocked(network(caller), now)
}

/** Charges a secret that could not be checked and that D1 does not know. */
export async function chargeUnknownSecret(caller: Caller, now: number): Promise<void> {
  const key = network(caller)
  const { success } = await caller.limiter.limit({ key })
  if (!success) unknownCallers.block(key, now + WINDOW_MS)
}

function network(caller: Caller): string {
  return limitedNetwork(caller.ip ?? 'none')
}

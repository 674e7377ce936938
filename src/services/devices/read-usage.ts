import type { LastUse, UsageInterval, UsageRow } from '../../domain/usage-count.ts'
import type { VerifyContext } from '../context.ts'
import { reached } from '../device-object.ts'

/**
 * A device's verifies in whole hours or days, in order of time.
 * @throws Unavailable when the object does not answer
 */
export async function readUsage(
  { states }: VerifyContext,
  query: {
    readonly deviceId: string
    readonly interval: UsageInterval
    /** Milliseconds. */
    readonly from: number
    readonly to: number
  },
): Promise<UsageRow[]> {
  const { deviceId, interval, from, to } = query
  return await reached(states.getByName(deviceId).usage(interval, from, to))
}

/**
 * When the secrets of a device were last used, to the minute, also those that have ended since.
 * @throws Unavailable when the object does not answer
 */
export async function readLastUses(
  { states }: VerifyContext,
  deviceId: string,
): Promise<readonly LastUse[]> {
  return await reached(states.getByName(deviceId).lastUses())
}

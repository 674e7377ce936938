import { waitUntil } from 'cloudflare:workers'
import type { LastUse, UsageCount, UsageInterval, UsageRow } from '../../domain/usage-count.ts'
import { FLUSH_INTERVAL_MS, type UsageBuffer } from '../../isolate/usage-buffer.ts'
import { type DeviceStates, reached } from '../device-object.ts'
import { withTimeout } from '../with-timeout.ts'

const OBJECT_TIMEOUT_MS = 5000

/** Counts a verify without delaying it: in memory, and from there to the device's object. */
export function countUsage(
  states: DeviceStates,
  deviceId: string,
  counted: UsageCount,
  now: number,
  buffer: UsageBuffer,
): void {
  buffer.add(deviceId, counted)
  if (buffer.claimFlush(now)) waitUntil(flushLater(states, buffer))
}

async function flushLater(states: DeviceStates, buffer: UsageBuffer): Promise<void> {
  await scheduler.wait(FLUSH_INTERVAL_MS)
  await flushUsage(states, buffer)
}

/** Hands on what is counted. What an object does not take is counted again, for the next flush. */
export async function flushUsage(states: DeviceStates, buffer: UsageBuffer): Promise<void> {
  await Promise.all(
    buffer.take().map(async ({ deviceId, counts }) => {
      try {
        // In time to be counted again: the platform ends this work at 30 s.
        await withTimeout(states.getByName(deviceId).count(deviceId, counts), OBJECT_TIMEOUT_MS)
      } catch {
        for (const counted of counts) buffer.add(deviceId, counted)
      }
    }),
  )
}

/**
 * A device's verifies in whole hours or days, in order of time.
 * @throws Unavailable when the object does not answer
 */
export async function readUsage(
  states: DeviceStates,
  deviceId: string,
  interval: UsageInterval,
  from: number,
  to: number,
): Promise<UsageRow[]> {
  return await reached(states.getByName(deviceId).usage(interval, from, to))
}

/**
 * When the secrets of a device were last used, to the minute, also those that have ended since.
 * @throws Unavailable when the object does not answer
 */
export async function readLastUses(
  states: DeviceStates,
  deviceId: string,
): Promise<readonly LastUse[]> {
  return await reached(states.getByName(deviceId).lastUses())
}

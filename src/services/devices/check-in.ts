import type { VerifyContext } from '../context.ts'
import { reached } from '../device-object.ts'

/**
 * Keeps a device's report in its own object: no D1 write.
 * @throws Unavailable when the object does not answer
 */
export async function checkIn(
  { states }: VerifyContext,
  input: {
    readonly deviceId: string
    readonly report?: Readonly<Record<string, unknown>> | undefined
  },
): Promise<{ receivedAt: number }> {
  const text = input.report === undefined ? null : JSON.stringify(input.report)
  return await reached(states.getByName(input.deviceId).checkIn(text))
}

/**
 * The device's last check-in, if it ever made one.
 * @throws Unavailable when the object does not answer
 */
export async function lastCheckIn(
  { states }: VerifyContext,
  deviceId: string,
): Promise<{ seenAt: number; report: unknown } | undefined> {
  const last = await reached(states.getByName(deviceId).lastCheckIn())
  if (last === undefined) return undefined
  return { seenAt: last.seenAt, report: last.report === null ? null : JSON.parse(last.report) }
}

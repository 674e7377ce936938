import { Unavailable } from '../domain/unavailable.ts'

/** The part of the environment in which devices' objects live. */
export type DeviceStates = Env['DEVICE_STATE']

/**
 * Keeps a device's report in its own object: no D1 write.
 * @throws Unavailable when the object does not answer
 */
export async function checkIn(
  states: DeviceStates,
  deviceId: string,
  report: Readonly<Record<string, unknown>> | undefined,
): Promise<{ receivedAt: number }> {
  const text = report === undefined ? null : JSON.stringify(report)
  return await reached(states.getByName(deviceId).checkIn(text))
}

/**
 * The device's last check-in, if it ever made one.
 * @throws Unavailable when the object does not answer
 */
export async function lastCheckIn(
  states: DeviceStates,
  deviceId: string,
): Promise<{ seenAt: number; report: unknown } | undefined> {
  const last = await reached(states.getByName(deviceId).lastCheckIn())
  if (last === undefined) return undefined
  return { seenAt: last.seenAt, report: last.report === null ? null : JSON.parse(last.report) }
}

async function reached<Answer>(call: Promise<Answer>): Promise<Answer> {
  try {
    return await call
  } catch (cause) {
    throw new Unavailable('the device state did not answer', { cause })
  }
}

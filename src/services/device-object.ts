import { Unavailable } from '../domain/unavailable.ts'

/** The part of the environment in which devices' objects live. */
export type DeviceStates = Env['DEVICE_STATE']

/** What the object answers, or Unavailable. */
export async function reached<Answer>(call: Promise<Answer>): Promise<Answer> {
  try {
    return await call
  } catch (cause) {
    throw new Unavailable('the device state did not answer', { cause })
  }
}

import { isPlatformFailure, Unavailable } from '../domain/unavailable.ts'

/** The part of the environment in which devices' objects live. */
export type DeviceStates = Env['DEVICE_STATE']

/**
 * What the object answers.
 * @throws Unavailable when the object could not be reached; a fault of ours as it is
 */
export async function reached<Answer>(call: Promise<Answer>): Promise<Answer> {
  try {
    return await call
  } catch (cause) {
    if (!isPlatformFailure(cause)) throw cause
    throw new Unavailable('the device state did not answer', { cause })
  }
}

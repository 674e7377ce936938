import type { SQL } from 'drizzle-orm'
import type { VerifyContext } from '../context.ts'
import { hasRoomForDevice } from '../devices/device-cap.ts'
import { hasRoomForKey } from '../keys/key-cap.ts'

/**
 * Whether a user's caps have room for the key of a claim, and for its device.
 * @param deviceId the device of theirs that is to get another key; null: a new device
 */
export function hasRoomForClaim(ctx: VerifyContext, userId: string, deviceId: string | null): SQL {
  return deviceId === null ? hasRoomForDevice(ctx, userId) : hasRoomForKey(ctx, deviceId)
}

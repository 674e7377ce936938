import { type SQL, sql } from 'drizzle-orm'
import { users } from '../../db/schema.ts'
import type { VerifyContext } from '../context.ts'

/**
 * Whether a user may have another device. Triggers keep the count: counting here would read the
 * whole fleet for each new device. It belongs into the insert's own predicate, so that however many
 * are made at once, the cap holds. An admin has no cap unless `max_devices` says one.
 */
export function hasRoomForDevice({ settings }: VerifyContext, userId: string): SQL {
  const isUncapped = sql`(${users.role} = 'admin' and ${users.maxDevices} is null)`
  const cap = sql`coalesce(${users.maxDevices}, ${settings.userMaxDevices})`
  return sql`exists (select 1 from ${users} where ${users.id} = ${userId}
    and (${isUncapped} or ${users.deviceCount} < ${cap}))`
}

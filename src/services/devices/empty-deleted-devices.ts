import { and, inArray, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import type { SliceDone } from '../../db/delete-slice.ts'
import { purges } from '../../db/schema.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'
import { withTimeout } from '../with-timeout.ts'

/**
 * How many objects one slice empties. The Free plan allows 50 calls an invocation, of which the
 * cron's other jobs make some ten.
 */
const SLICE = 36
/** Work after a response, such as a flush of usage, is over by then. */
const LATE_WORK_MS = 60_000
const OBJECT_TIMEOUT_MS = 5000

/**
 * Empties the objects of devices that were deleted long enough ago that nobody can still speak for
 * them from a stale snapshot, which would bring them back to life. One that fails is tried again.
 * Each owner has a part in every slice: nobody waits for another's deleted fleet.
 */
export async function emptyDeletedDevices(ctx: VerifyContext): Promise<SliceDone> {
  const { database, states, settings, now } = ctx
  const db = openDatabase(database)
  const dueBefore = now - settings.keyStaleSeconds * SECOND_MS - LATE_WORK_MS
  const due = await pickDue(ctx, dueBefore)
  if (due.length === 0) return { done: 0, isMore: false }
  const outcomes = await Promise.allSettled(
    due.map(async (deviceId) => {
      await withTimeout(states.getByName(deviceId).empty(), OBJECT_TIMEOUT_MS)
      return deviceId
    }),
  )
  const emptied = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' ? [outcome.value] : [],
  )
  await db.delete(purges).where(inArray(purges.deviceId, listOf(emptied)))
  if (emptied.length < due.length) {
    // What failed is still there, and waits behind the others.
    await db
      .update(purges)
      .set({ at: now })
      .where(inArray(purges.deviceId, listOf(due)))
  }
  return { done: emptied.length, isMore: emptied.length > 0 && due.length === SLICE }
}

/** The oldest due of each of the first owners, so many of each that they fill a slice. */
async function pickDue({ database }: VerifyContext, dueBefore: number): Promise<string[]> {
  const db = openDatabase(database)
  const owners = await db.all<{ id: string }>(sql`with recursive owners (id) as (
      select min(user_id) from ${purges}
      union all select (select min(user_id) from ${purges} where user_id > owners.id)
      from owners where owners.id is not null
    )
    select id from owners
    where (select min(at) from ${purges} where user_id = owners.id) < ${dueBefore} limit ${SLICE}`)
  if (owners.length === 0) return []
  const each = Math.ceil(SLICE / owners.length)
  const isPicked = sql`${purges.deviceId} in (select p.device_id from purges p
    where p.user_id = ${purges.userId} and p.at < ${dueBefore} order by p.at limit ${each})`
  const rows = await db
    .select({ id: purges.deviceId })
    .from(purges)
    .where(and(inArray(purges.userId, listOf(owners.map(({ id }) => id))), isPicked))
    .limit(SLICE)
  return rows.map(({ id }) => id)
}

/** json_each instead of a parameter for each: D1 takes 100. */
function listOf(ids: readonly string[]) {
  return sql`(select value from json_each(${JSON.stringify(ids)}))`
}

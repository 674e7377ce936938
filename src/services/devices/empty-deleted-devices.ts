import { eq, inArray, sql } from 'drizzle-orm'
import { type Database, openDatabase } from '../../db/client.ts'
import type { SliceDone } from '../../db/delete-slice.ts'
import { meta, purges } from '../../db/schema.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'
import { withTimeout } from '../with-timeout.ts'

/**
 * How many objects one slice empties. The Free plan allows 50 calls an invocation, of which the
 * cron's other jobs make some fifteen.
 */
const SLICE = 32
/** Work after a response, such as a flush of usage, is over by then. */
const LATE_WORK_MS = 60_000
const OBJECT_TIMEOUT_MS = 5000

/** In `meta`: the owner whose turn was the last, where more wait than a slice has places. */
const TURN = 'purge_turn'

/**
 * Empties the objects of devices that were deleted long enough ago that nobody can still speak for
 * them from a stale snapshot, which would bring them back to life. One that fails is tried again.
 * Owners take turns: nobody waits for another's deleted fleet.
 */
export async function emptyDeletedDevices(ctx: VerifyContext): Promise<SliceDone> {
  const { database, settings, now } = ctx
  const db = openDatabase(database)
  const dueBefore = now - settings.keyStaleSeconds * SECOND_MS - LATE_WORK_MS
  const due = await pickDue(db, dueBefore)
  if (due.length === 0) return { done: 0, isMore: false }
  const emptied = await empty(ctx, due)
  await db.delete(purges).where(inArray(purges.deviceId, listOf(emptied)))
  if (emptied.length < due.length) {
    // What failed is still there, and waits behind the others.
    await db
      .update(purges)
      .set({ at: now })
      .where(inArray(purges.deviceId, listOf(due)))
  }
  return { done: emptied.length, isMore: emptied.length > 0 }
}

/** Empties objects at once; returns the devices whose objects answered that it was done. */
async function empty({ states }: VerifyContext, devices: readonly string[]): Promise<string[]> {
  const outcomes = await Promise.allSettled(
    devices.map(async (deviceId) => {
      await withTimeout(states.getByName(deviceId).empty(), OBJECT_TIMEOUT_MS)
      return deviceId
    }),
  )
  return outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
}

/** The oldest due of each of the next owners, so many of each that they fill a slice. */
async function pickDue(db: Database, dueBefore: number): Promise<string[]> {
  const owners = await nextOwners(db, dueBefore)
  const last = owners.at(-1)
  if (last === undefined) return []
  if (owners.length === SLICE) {
    await db
      .insert(meta)
      .values({ name: TURN, value: last })
      .onConflictDoUpdate({ target: meta.name, set: { value: last } })
  }
  const each = Math.ceil(SLICE / owners.length)
  // The cross join goes by owner: SQLite reads as many rows of each as are picked.
  const rows = await db.all<{ id: string }>(sql`
    select picked.device_id as id from json_each(${JSON.stringify(owners)}) as owner
    cross join ${purges} as picked on picked.device_id in (
      select device_id from ${purges}
      where user_id = owner.value and at < ${dueBefore} order by at limit ${each})
    limit ${SLICE}`)
  return rows.map(({ id }) => id)
}

/**
 * The owners of whom something is due: those after the last turn first. Each step is one look into
 * the index on owners, however many devices of each are queued.
 */
async function nextOwners(db: Database, dueBefore: number): Promise<string[]> {
  const last = sql`coalesce((select ${meta.value} from ${meta} where ${eq(meta.name, TURN)}), '')`
  const rows = await db.all<{ id: string }>(sql`with recursive
    later (id) as (
      select min(user_id) from ${purges} where user_id > ${last}
      union all select (select min(user_id) from ${purges} where user_id > later.id)
      from later where later.id is not null
    ),
    earlier (id) as (
      select min(user_id) from ${purges}
      union all select (select min(user_id) from ${purges} where user_id > earlier.id)
      from earlier where earlier.id < ${last}
    )
    select id from (select id from later union all select id from earlier where id <= ${last})
    where (select min(at) from ${purges} where user_id = id) < ${dueBefore} limit ${SLICE}`)
  return rows.map(({ id }) => id)
}

/** json_each instead of a parameter for each: D1 takes 100. */
function listOf(ids: readonly string[]) {
  return sql`(select value from json_each(${JSON.stringify(ids)}))`
}

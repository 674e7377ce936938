import { asc, inArray, lt, type SQL, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { purges } from '../../db/schema.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'
import { withTimeout } from '../with-timeout.ts'

/** How many objects one run empties: the rest waits for the next. */
const SLICE = 40
/** Work after a response, such as a flush of usage, is over by then. */
const LATE_WORK_MS = 60_000
const OBJECT_TIMEOUT_MS = 5000

/**
 * Empties the objects of devices that were deleted long enough ago that nobody can still speak for
 * them from a stale snapshot, which would bring them back to life. One that fails is tried again.
 * @returns how many were emptied
 */
export async function emptyDeletedDevices({
  database,
  states,
  settings,
  now,
}: VerifyContext): Promise<number> {
  const db = openDatabase(database)
  const staleMs = settings.keyStaleSeconds * SECOND_MS
  const due = await db
    .select({ deviceId: purges.deviceId })
    .from(purges)
    .where(lt(purges.at, now - staleMs - LATE_WORK_MS))
    .orderBy(asc(purges.at))
    .limit(SLICE)
  if (due.length === 0) return 0
  const outcomes = await Promise.allSettled(
    due.map(async ({ deviceId }) => {
      await withTimeout(states.getByName(deviceId).empty(), OBJECT_TIMEOUT_MS)
      return deviceId
    }),
  )
  const emptied = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' ? [outcome.value] : [],
  )
  const tried = idsIn(due.map(({ deviceId }) => deviceId))
  const done = idsIn(emptied)
  await db.batch([
    db.delete(purges).where(inArray(purges.deviceId, done)),
    // What failed waits behind the others.
    db.update(purges).set({ at: now }).where(inArray(purges.deviceId, tried)),
  ])
  return emptied.length
}

/** json_each instead of a parameter for each: D1 takes 100. */
function idsIn(ids: readonly string[]): SQL {
  return sql`(select value from json_each(${JSON.stringify(ids)}))`
}

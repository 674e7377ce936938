import { and, asc, eq, gt, isNotNull, lt, lte, sql } from 'drizzle-orm'
import { firstIdAt } from '../../crypto/ids.ts'
import { batch } from '../../db/batch.ts'
import { openDatabase } from '../../db/client.ts'
import { deleteSlice, type SliceDone } from '../../db/delete-slice.ts'
import { auditEvents, meta } from '../../db/schema.ts'
import { DAY_MS, HOUR_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** The table's triggers go by the database's clock: no row may be young to it. */
const CLOCK_SLACK_MS = HOUR_MS
/** Events that one slice looks at. */
const SLICE = 5000
/** In `meta`: the id up to which every event has lost its address. */
const PROGRESS = 'audit_ips_cleared'

/** Deletes audit events that are older than AUDIT_RETENTION_DAYS. */
export async function pruneAudit({ database, settings, now }: VerifyContext): Promise<SliceDone> {
  const isOld = isFromBefore(now - settings.auditRetentionDays * DAY_MS - CLOCK_SLACK_MS)
  return await deleteSlice(openDatabase(database), auditEvents, isOld)
}

/**
 * Takes the caller's address out of audit events that are older than AUDIT_IP_DAYS. It remembers
 * how far it came: no index finds the events that still hold one.
 */
export async function clearAuditIps({
  database,
  settings,
  now,
}: VerifyContext): Promise<SliceDone> {
  const db = openDatabase(database)
  const isOld = isFromBefore(now - settings.auditIpDays * DAY_MS - CLOCK_SLACK_MS)
  const progress = sql`select ${meta.value} from ${meta} where ${eq(meta.name, PROGRESS)}`
  const done = sql`coalesce((${progress}), '')`
  const next = await db
    .select({ id: auditEvents.id })
    .from(auditEvents)
    .where(and(gt(auditEvents.id, done), isOld))
    .orderBy(asc(auditEvents.id))
    .limit(SLICE)
  const last = next.at(-1)?.id
  if (last === undefined) return { done: 0, isMore: false }
  const isNext = and(gt(auditEvents.id, done), lte(auditEvents.id, last), isOld)
  await batch(db, {
    cleared: db
      .update(auditEvents)
      .set({ ip: null })
      .where(and(isNext, isNotNull(auditEvents.ip))),
    progress: db
      .insert(meta)
      .values({ name: PROGRESS, value: last })
      .onConflictDoUpdate({ target: meta.name, set: { value: last } }),
  })
  return { done: next.length, isMore: next.length === SLICE }
}

/** Ids sort by the time of making, which is a moment after the event's: both must be old. */
function isFromBefore(time: number) {
  return and(lt(auditEvents.id, firstIdAt('evt', time)), lt(auditEvents.at, time))
}

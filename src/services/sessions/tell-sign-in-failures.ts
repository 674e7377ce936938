import { and, eq, exists, inArray, lt, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { batch } from '../../db/batch.ts'
import { openDatabase } from '../../db/client.ts'
import type { SliceDone } from '../../db/delete-slice.ts'
import { insertWhere } from '../../db/insert-where.ts'
import { auditEvents, signInFailures, users } from '../../db/schema.ts'
import { HOUR_MS, hourOf, MINUTE_MS } from '../../domain/time.ts'
import type { AuditAction } from '../changes/record-audit.ts'
import type { VerifyContext } from '../context.ts'

/** Rows that one slice tells. */
const SLICE = 500
/** A sign-in that began before the hour ended may still be hashing. */
const LATE_MS = MINUTE_MS

const ACTION: AuditAction = 'user.sign_in_failed'

/**
 * Tells the failed sign-ins of the hours that are over in the audit, and deletes their rows: an
 * event for each account, network and hour. Those of unknown usernames are only deleted. Both
 * happen in one batch, so a crash tells nothing twice and loses nothing; of two runs at once, the
 * second finds the rows gone. The event's time is the end of the hour: a run may come days later,
 * and the owner asks when it was.
 */
export async function tellSignInFailures({ database, now }: VerifyContext): Promise<SliceDone> {
  const db = openDatabase(database)
  const rowid = sql<number>`${signInFailures}.rowid`
  const isOver = lt(signInFailures.hour, hourOf(now - LATE_MS))
  const rows = await db.select({ rowid }).from(signInFailures).where(isOver).limit(SLICE)
  if (rows.length === 0) return { done: 0, isMore: false }
  const slice = JSON.stringify(rows.map((row) => [row.rowid, newId('evt')]))
  const { userId, network, hour, count } = signInFailures
  const user = db.select({ id: users.id }).from(users).where(eq(users.id, userId))
  await batch(db, {
    told: insertWhere(
      db,
      auditEvents,
      {
        id: sql`picked.value ->> 1`,
        at: sql`${hour} + ${HOUR_MS}`,
        userId,
        action: ACTION,
        actorType: 'system',
        actorId: 'tell-sign-in-failures',
        ip: sql`nullif(${network}, 'none')`,
        after: sql`json_object('count', ${count})`,
      },
      and(isOver, exists(user)),
      sql`json_each(${slice}) as picked
        cross join ${signInFailures} on ${rowid} = picked.value ->> 0`,
    ),
    deleted: db
      .delete(signInFailures)
      .where(and(inArray(rowid, sql`(select value ->> 0 from json_each(${slice}))`), isOver)),
  })
  return { done: rows.length, isMore: rows.length === SLICE }
}

import { and, eq, gt, isNull, type SQL, sql } from 'drizzle-orm'
import type { SQLiteTable, SQLiteUpdateSetSource } from 'drizzle-orm/sqlite-core'
import { newId } from '../../crypto/ids.ts'
import { type Database, openDatabase } from '../../db/client.ts'
import { insertWhere, type RowOf } from '../../db/insert-where.ts'
import { auditEvents, sessions, users } from '../../db/schema.ts'
import type { Actor, AuditContext } from '../context.ts'
import { type AuditEntry, isRecorded, recordAudit } from './record-audit.ts'
import { recordRevocation } from './record-revocation.ts'

/** A change that is being put together: see `openChange`. */
export type Change = ReturnType<typeof openChange>

/**
 * Begins a change. Its first statement is its audit row, which comes to be only if `happens` holds
 * and its author may still act. Each further statement made here does nothing unless that row is
 * there. So the whole batch is decided once, at one moment, by one predicate; and `audit` tells
 * whether it happened.
 * @example
 *     const change = openChange(ctx, { action: 'key.revoked', ...path }, isLive)
 *     const { happened } = await commit(change, {
 *       revoked: change.update(apiKeys, { revokedAt: ctx.now }, eq(apiKeys.id, path.keyId)),
 *     })
 */
export function openChange(ctx: AuditContext, entry: AuditEntry, happens?: SQL) {
  const db = openDatabase(ctx.database)
  const id = newId('evt')
  const happened = isRecorded(id)
  return {
    ctx,
    db,
    /** Holds for the rest of the batch if the change happens. */
    happened,
    audit: recordAudit(db, ctx, id, entry, and(happens, mayAct(ctx.actor, ctx.now))).returning({
      id: auditEvents.id,
    }),
    insert: <Table extends SQLiteTable>(
      table: Table,
      row: RowOf<Table>,
      options: { readonly if?: SQL | undefined; readonly from?: SQLiteTable } = {},
    ) => insertWhere(db, table, row, and(happened, options.if), options.from),
    update: <Table extends SQLiteTable>(
      table: Table,
      // oxlint-disable-next-line typescript/no-generated-empty-object-type -- not of a real table
      fields: SQLiteUpdateSetSource<Table>,
      which: SQL | undefined,
    ) => db.update(table).set(fields).where(and(which, happened)),
    remove: <Table extends SQLiteTable>(table: Table, which: SQL | undefined) =>
      db.delete(table).where(and(which, happened)),
    /** Ends the device tokens of a subject: see `recordRevocation`. */
    endTokens: (subject: string) => recordRevocation(db, subject, ctx.now, happened),
  }
}

/** A user whose session ends, or who is disabled, during the request changes nothing. */
function mayAct(actor: Actor, now: number): SQL | undefined {
  return actor.type === 'user' ? hasLiveSession(actor.sessionId, now) : undefined
}

function hasLiveSession(sessionId: string, now: number): SQL {
  const live = and(
    eq(sessions.id, sessionId),
    isNull(sessions.revokedAt),
    gt(sessions.expiresAt, now),
    isNull(users.disabledAt),
  )
  return sql`exists (select 1 from ${sessions}
    join ${users} on ${users.id} = ${sessions.userId} where ${live})`
}

/** Whether the author of a change that did not happen may still act. */
export async function mayStillAct(db: Database, { actor, now }: AuditContext): Promise<boolean> {
  if (actor.type !== 'user') return true
  const [row] = await db.all<{ live: number }>(
    sql`select ${hasLiveSession(actor.sessionId, now)} as live`,
  )
  return row?.live === 1
}

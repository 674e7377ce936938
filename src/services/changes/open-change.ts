import { and, eq, exists, gt, isNull, type SQL } from 'drizzle-orm'
import type { SQLiteTable, SQLiteUpdateSetSource } from 'drizzle-orm/sqlite-core'
import { newId } from '../../crypto/ids.ts'
import { type Database, openDatabase } from '../../db/client.ts'
import { insertWhere, type RowOf } from '../../db/insert-where.ts'
import { auditEvents, sessions, users } from '../../db/schema.ts'
import type { AuditContext } from '../context.ts'
import { insertRemembered, type Remembered } from './idempotency.ts'
import { type AuditEntry, isRecorded, recordAudit } from './record-audit.ts'
import { recordRevocation } from './record-revocation.ts'

/** A change that is being put together: see `openChange`. */
export type Change = ReturnType<typeof openChange>

/**
 * Begins a change. Its first statement is its audit row, which comes to be only if `happens` holds
 * and its author may still act. Each further statement made here does nothing unless that row is
 * there. So the whole batch is decided once, at one moment, by one predicate; and `audit` tells
 * whether it happened.
 * @param remembered what a repetition of the request is answered with
 * @example
 *     const change = openChange(ctx, { action: 'key.revoked', ...path }, isLive)
 *     const { happened } = await commit(change, {
 *       revoked: change.update(apiKeys, { revokedAt: ctx.now }, eq(apiKeys.id, path.keyId)),
 *     })
 */
export function openChange(
  ctx: AuditContext,
  entry: AuditEntry,
  happens?: SQL,
  remembered?: Remembered,
) {
  const db = openDatabase(ctx.database)
  const { userId: ownerId } = entry
  const id = newId('evt')
  const happened = isRecorded(id)
  const author = selectAuthor(db, ctx)
  const mayAct = author && exists(author)
  const mayHappen = and(happens, mayAct)
  return {
    ctx,
    db,
    ownerId,
    /** Holds for the rest of the batch if the change happens. */
    happened,
    audit: recordAudit(db, ctx, id, entry, mayHappen).returning({ id: auditEvents.id }),
    /** Absent where no session is asked for. */
    author,
    /** Stands before all else, so that a second request finds it: see `rememberOnce`. */
    once: remembered && insertRemembered(db, remembered, ctx.now, mayHappen, mayAct),
    insert: <Table extends SQLiteTable>(
      table: Table,
      row: RowOf<Table>,
      options: { readonly if?: SQL | undefined; readonly from?: SQLiteTable } = {},
    ) => insertWhere(db, table, row, and(happened, options.if), options.from),
    update: <Table extends SQLiteTable>(
      table: Table,
      // oxlint-disable-next-line typescript/no-generated-empty-object-type -- Table is generic here
      fields: SQLiteUpdateSetSource<Table>,
      which: SQL | undefined,
    ) => db.update(table).set(fields).where(and(which, happened)),
    remove: <Table extends SQLiteTable>(table: Table, which: SQL | undefined) =>
      db.delete(table).where(and(which, happened)),
    /** Ends the device tokens of a subject: see `recordRevocation`. */
    endTokens: (subject: string, options: { readonly if?: SQL | undefined } = {}) =>
      recordRevocation(db, { subject, ownerId, at: ctx.now }, and(happened, options.if)),
  }
}

/** Finds the session of a user who changes something, while it lives and they are not disabled. */
function selectAuthor(db: Database, { actor, now }: AuditContext) {
  if (actor.type !== 'user') return undefined
  const live = and(
    eq(sessions.id, actor.sessionId),
    isNull(sessions.revokedAt),
    gt(sessions.expiresAt, now),
    isNull(users.disabledAt),
  )
  return db
    .select({ id: sessions.id })
    .from(sessions)
    .innerJoin(users, eq(users.id, sessions.userId))
    .where(live)
}

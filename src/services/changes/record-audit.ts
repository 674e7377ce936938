import { eq, is, SQL, sql } from 'drizzle-orm'
import type { Database } from '../../db/client.ts'
import { insertWhere } from '../../db/insert-where.ts'
import { auditEvents } from '../../db/schema.ts'
import type { Actor, AuditContext } from '../context.ts'

export type AuditAction =
  | 'user.created'
  | 'user.password_changed'
  | 'user.deleted'
  | 'user.sign_in_failed'
  | 'session.created'
  | 'session.ended'
  | 'session.reuse_detected'
  | 'device.created'
  | 'device.updated'
  | 'device.deleted'
  | 'key.created'
  | 'key.updated'
  | 'key.revoked'
  | 'key.rotated'
  | 'key.secret_ended'
  | 'key.token_ended'
  | 'key.retired_secret_used'
  | 'claim.approved'
  | 'claim.denied'
  | 'claim.withdrawn'

export type AuditEntry = {
  readonly action: AuditAction
  /** Whose event it is. A fragment where only the database knows. */
  readonly userId: string | SQL
  readonly deviceId?: string
  readonly keyId?: string
  /** The changed fields as JSON objects, or a fragment that makes one. */
  readonly before?: Record<string, unknown> | SQL
  readonly after?: Record<string, unknown> | SQL
}

/** The statement that records a change under this id, where `happens` holds. */
export function recordAudit(
  db: Database,
  ctx: Pick<AuditContext, 'now' | 'actor' | 'ip' | 'requestId'>,
  id: string,
  entry: AuditEntry,
  happens: SQL | undefined,
) {
  const { before, after, ...what } = entry
  const { now: at, ip, requestId } = ctx
  return insertWhere(
    db,
    auditEvents,
    {
      id,
      at,
      ...actorColumns(ctx.actor),
      ip,
      requestId,
      ...what,
      before: jsonOf(before),
      after: jsonOf(after),
    },
    happens,
  )
}

/** Whether the event is on record: the witness of a change that is recorded first. */
export function isRecorded(id: string): SQL {
  return sql`exists (select 1 from ${auditEvents} where ${eq(auditEvents.id, id)})`
}

function actorColumns(actor: Actor) {
  switch (actor.type) {
    case 'user':
    case 'visitor':
      return { actorType: 'user', actorId: actor.userId } as const
    case 'device':
      return { actorType: 'device', actorId: actor.deviceId } as const
    case 'system':
      return { actorType: 'system', actorId: actor.job } as const
  }
}

function jsonOf(fields: AuditEntry['before']): SQL | string | null {
  if (fields === undefined) return null
  return is(fields, SQL) ? fields : JSON.stringify(fields)
}

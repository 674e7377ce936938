import { is, SQL, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import type { Database } from '../../db/client.ts'
import { auditEvents } from '../../db/schema.ts'

/** Who changes something, when and from where: what an audit row says beside the change itself. */
export type Change = {
  readonly database: D1Database
  /** Milliseconds. */
  readonly now: number
  readonly actor: { readonly type: 'user' | 'device' | 'system'; readonly id: string | null }
  readonly ip: string | null
  readonly requestId: string | null
}

export type AuditAction =
  | 'user.created'
  | 'user.password_changed'
  | 'user.deleted'
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
  | 'key.retired_secret_used'
  | 'claim.approved'
  | 'claim.denied'

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

/**
 * The statement that records a change, for the change's own batch. It records only where `happens`
 * holds: the change's own predicate if it stands before the change, a witness if it stands after.
 */
export function recordAudit(
  db: Database,
  change: Change,
  entry: AuditEntry,
  happens: SQL = sql`true`,
) {
  const { now, actor, ip, requestId } = change
  return db.insert(auditEvents).select(
    sql`select ${newId('evt')}, ${now}, ${entry.userId}, ${entry.action}, ${actor.type},
      ${actor.id}, ${entry.deviceId ?? null}, ${entry.keyId ?? null}, ${ip}, ${requestId},
      ${jsonOf(entry.before)}, ${jsonOf(entry.after)} where ${happens}`,
  )
}

function jsonOf(fields: AuditEntry['before']): SQL | string | null {
  if (fields === undefined) return null
  return is(fields, SQL) ? fields : JSON.stringify(fields)
}

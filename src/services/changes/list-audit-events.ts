import { and, desc, eq } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { auditEvents } from '../../db/schema.ts'
import type { VerifyContext } from '../context.ts'
import { isBefore, type Position } from '../../db/keyset.ts'

/** One entry of the record: who did what to what, when and from where. Times are milliseconds. */
export type AuditEvent = {
  readonly id: string
  readonly at: number
  readonly action: string
  readonly actor: { readonly type: string; readonly id: string | null }
  readonly deviceId: string | null
  readonly keyId: string | null
  readonly ip: string | null
  readonly requestId: string | null
  readonly before: Record<string, unknown> | null
  readonly after: Record<string, unknown> | null
}

/** A page of what happened to what is the user's, newest first. */
export async function listAuditEvents(
  { database }: VerifyContext,
  query: {
    readonly userId: string
    readonly limit: number
    readonly after?: Position | undefined
  },
): Promise<{ events: AuditEvent[]; hasMore: boolean }> {
  const { userId, limit, after } = query
  const rows = await openDatabase(database)
    .select()
    .from(auditEvents)
    .where(
      and(
        eq(auditEvents.userId, userId),
        after === undefined ? undefined : isBefore(auditEvents.at, auditEvents.id, after),
      ),
    )
    .orderBy(desc(auditEvents.at), desc(auditEvents.id))
    .limit(limit + 1)
  return { events: rows.slice(0, limit).map(toEvent), hasMore: rows.length > limit }
}

function toEvent(row: typeof auditEvents.$inferSelect): AuditEvent {
  const { id, at, action, deviceId, keyId, ip, requestId } = row
  return {
    id,
    at,
    action,
    actor: { type: row.actorType, id: row.actorId },
    deviceId,
    keyId,
    ip,
    requestId,
    before: parseFields(row.before),
    after: parseFields(row.after),
  }
}

function parseFields(text: string | null): Record<string, unknown> | null {
  if (text === null) return null
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null ? { ...parsed } : null
}

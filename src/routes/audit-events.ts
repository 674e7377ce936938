import { rfc3339 } from '../domain/time.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { factory } from '../http/env.ts'
import { validQuery } from '../http/validate.ts'
import { pageQuery } from '../schemas/page.ts'
import { type AuditEvent, listAuditEvents } from '../services/changes/list-audit-events.ts'
import { nextCursor } from './wire.ts'

/** What happened to what is the caller's, newest first. */
export const auditEvents = factory
  .createApp()
  .get('/v1/audit-events', requireUser(), validQuery(pageQuery), async (c) => {
    const { limit, cursor } = c.req.valid('query')
    const query = { userId: c.var.user.id, limit, after: cursor }
    const page = await listAuditEvents(c.var.ctx, query)
    const last = page.hasMore ? page.events.at(-1) : undefined
    return c.json({ items: page.events.map(toWire), next_cursor: nextCursor(last) })
  })

function toWire(event: AuditEvent) {
  return {
    id: event.id,
    at: rfc3339(event.at),
    action: event.action,
    actor: event.actor,
    device_id: event.deviceId,
    key_id: event.keyId,
    ip: event.ip,
    request_id: event.requestId,
    before: toWireFields(event.before),
    after: toWireFields(event.after),
  }
}

/** Times are numbers in the record and RFC 3339 on the wire; a new device's holds its key's too. */
function toWireFields(fields: Fields | null): Fields | null {
  if (fields === null) return null
  const { expires_at: expiresAt, key } = fields
  return {
    ...fields,
    ...(typeof expiresAt === 'number' ? { expires_at: rfc3339(expiresAt) } : {}),
    ...(isFields(key) ? { key: toWireFields(key) } : {}),
  }
}

type Fields = Readonly<Record<string, unknown>>

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

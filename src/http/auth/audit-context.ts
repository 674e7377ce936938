import { clientIp } from '../client.ts'
import type { AppContext } from '../env.ts'
import type { Change } from '../../services/changes/record-audit.ts'

/**
 * Who changes something through this request, in the services' words; and the request gets its log
 * line. The user is the signed-in one, or null where a route has none yet.
 */
export function changeOf(c: AppContext, userId: string | null): Change {
  return changeBy(c, { type: 'user', id: userId })
}

/** The same for whoever else changes something. */
export function changeBy(c: AppContext, actor: Change['actor']): Change {
  c.var.log.subject = 'change'
  return {
    database: c.env.DB,
    now: c.var.now,
    actor,
    ip: clientIp(c) ?? null,
    requestId: c.var.requestId,
  }
}

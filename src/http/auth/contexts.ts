import type { Actor, AuditContext, VerifyContext } from '../../services/context.ts'
import type { SignedInUser } from '../../services/sessions/access-token.ts'
import { clientIp } from '../client.ts'
import type { AppContext } from '../env.ts'

/**
 * A request in the services' words: where they look, and when.
 * @param now the request's one time, but for a verify that follows another: that one may have
 *   waited for D1, and what the second one knows would be older than its bound allows
 */
export function verifyContextOf(c: AppContext, now: number = c.var.now): VerifyContext {
  const { DB: database, DEVICE_STATE: states } = c.env
  const { settings, isolate } = c.var
  return { database, states, settings, isolate, now }
}

/** What a service needs to change something for the user who has signed in. */
export function userContextOf(c: AppContext & { readonly var: { readonly user: SignedInUser } }) {
  const { id: userId, sessionId } = c.var.user
  return auditContextOf(c, { type: 'user', userId, sessionId })
}

/** What a service needs to change something for somebody who has no session yet. */
export function visitorContextOf(c: AppContext) {
  return auditContextOf(c, { type: 'visitor', userId: null })
}

/** What a service needs to change something, for the audit as well; the request is logged. */
export function auditContextOf<By extends Actor>(c: AppContext, actor: By): AuditContext<By> {
  c.var.log.subject = 'change'
  return {
    ...verifyContextOf(c),
    actor,
    ip: clientIp(c),
    requestId: c.var.requestId,
    once: c.var.once ?? null,
  }
}

import type { Actor, AuditContext, VerifyContext } from '../../services/context.ts'
import { clientIp } from '../client.ts'
import type { AppContext } from '../env.ts'
import type { UserEnv } from './require-user.ts'

/** What a service needs to change something for the user who has signed in. */
export function userContextOf(c: AppContext & { readonly var: UserEnv['Variables'] }) {
  const { ctx, user } = c.var
  return auditContextOf(c, ctx, { type: 'user', userId: user.id, sessionId: user.sessionId })
}

/** What a service needs to change something for somebody who has no session yet. */
export function visitorContextOf(c: AppContext, ctx: VerifyContext) {
  return auditContextOf(c, ctx, { type: 'visitor', userId: null })
}

/** What a service needs to change something, for the audit as well; the request is logged. */
export function auditContextOf<By extends Actor>(
  c: AppContext,
  ctx: VerifyContext,
  actor: By,
): AuditContext<By> {
  c.var.log.subject = 'change'
  const { recordedId: requestId, once = null } = c.var
  return { ...ctx, actor, ip: clientIp(c), requestId, once }
}

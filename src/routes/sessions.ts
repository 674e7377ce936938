import { rfc3339 } from '../domain/time.ts'
import { admit } from '../http/auth/admit.ts'
import { userContextOf, visitorContextOf } from '../http/auth/contexts.ts'
import { CREDENTIAL, PASSWORD } from '../http/auth/doors.ts'
import { denied, throttled } from '../http/auth/refuse.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { userAgentOf } from '../http/client.ts'
import { type AppContext, factory } from '../http/env.ts'
import { noteDenial } from '../http/log.ts'
import { problem } from '../http/problem.ts'
import { validBody, validQuery } from '../http/validate.ts'
import { pageQuery } from '../schemas/page.ts'
import { refresh, signIn as signInBody } from '../schemas/sessions.ts'
import { ACCESS_TOKEN_SECONDS } from '../services/sessions/access-token.ts'
import { refreshSession } from '../services/sessions/refresh-session.ts'
import {
  listSessions,
  revokeSession,
  type Session,
  type SessionTokens,
} from '../services/sessions/sessions.ts'
import { signIn } from '../services/sessions/sign-in.ts'
import { nextCursor } from './wire.ts'

/** Sessions: signing in, refreshing, looking at them and ending them. */
export const sessions = factory
  .createApp()
  .post('/v1/sessions', validBody(signInBody), async (c) => {
    const { username, password } = c.req.valid('json')
    const admitted = await admit(c, PASSWORD, { username })
    if (!admitted.ok) return throttled(c)
    const limiter = c.env.SIGN_IN_LIMITER_ACCOUNT
    const input = { username, password, userAgent: userAgentOf(c), limiter }
    const opened = await signIn(visitorContextOf(c, admitted.value), input)
    if (opened.ok) return c.json(toWireTokens(c, opened.value), 201)
    if (opened.reason === 'disabled') return denied(c, 'disabled')
    noteDenial(c, 'not_found')
    return problem(c, opened.reason)
  })
  .post('/v1/sessions/refresh', validBody(refresh), async (c) => {
    const { refresh_token: token } = c.req.valid('json')
    const refreshed = await refreshSession(visitorContextOf(c, admit(c, CREDENTIAL)), token)
    return refreshed.ok
      ? c.json(toWireTokens(c, refreshed.value), 201)
      : denied(c, refreshed.reason)
  })
  .get('/v1/sessions', requireUser(), validQuery(pageQuery), async (c) => {
    const { user } = c.var
    const { limit, cursor } = c.req.valid('query')
    const query = { userId: user.id, limit, after: cursor }
    const page = await listSessions(c.var.ctx, query)
    const last = page.hasMore ? page.sessions.at(-1) : undefined
    return c.json({
      items: page.sessions.map((session) => toWire(session, user.sessionId)),
      next_cursor: nextCursor(last && { at: last.createdAt, id: last.id }),
    })
  })
  .delete('/v1/sessions/:id', requireUser(), async (c) => {
    const { user } = c.var
    const named = c.req.param('id')
    const sessionId = named === 'current' ? user.sessionId : named
    const ended = await revokeSession(userContextOf(c), { userId: user.id, sessionId })
    return ended.ok ? c.body(null, 204) : problem(c, ended.reason)
  })

function toWireTokens(c: AppContext, tokens: SessionTokens) {
  c.var.log.userId = tokens.userId
  return {
    access_token: tokens.accessToken,
    token_type: 'Bearer' as const,
    expires_in: ACCESS_TOKEN_SECONDS,
    refresh_token: tokens.refreshToken,
  }
}

function toWire(session: Session, currentId: string) {
  return {
    id: session.id,
    current: session.id === currentId,
    ip: session.ip,
    user_agent: session.userAgent,
    created_at: rfc3339(session.createdAt),
    refreshed_at: rfc3339(session.refreshedAt),
    expires_at: rfc3339(session.expiresAt),
  }
}

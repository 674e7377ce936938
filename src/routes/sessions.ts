import { factory, type AppContext } from '../http/env.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { denied, noteDenial, problem } from '../http/problem.ts'
import { validBody, validQuery } from '../http/validate.ts'
import { pageQuery } from '../schemas/page.ts'
import { refresh, signIn as signInBody } from '../schemas/users.ts'
import { ACCESS_TOKEN_SECONDS } from '../services/sessions/access-token.ts'
import {
  endSession,
  listSessions,
  refreshSession,
  type Session,
  type SessionTokens,
  signIn,
} from '../services/sessions/sessions.ts'
import { changeOf } from '../http/auth/audit-context.ts'
import { mayTryPassword } from '../http/auth/password-attempt.ts'
import { nextCursor, timestamp } from './wire.ts'

/** How much of a User-Agent a session remembers. */
const USER_AGENT_MAX_CHARACTERS = 256

/** Sessions: signing in, refreshing, looking at them and ending them. */
export const sessions = factory
  .createApp()
  .post('/v1/sessions', validBody(signInBody), async (c) => {
    const { username, password } = c.req.valid('json')
    if (!(await mayTryPassword(c, username))) return problem(c, 'rate-limited')
    const input = { username, password, userAgent: userAgentOf(c) }
    const opened = await signIn(changeOf(c, null), input, c.var.settings)
    if (opened.ok) return c.json(presentTokens(c, opened.value), 201)
    if (opened.reason === 'disabled') return denied(c, 'disabled')
    noteDenial(c, 'not_found')
    return problem(c, 'invalid-credentials')
  })
  .post('/v1/sessions/refresh', validBody(refresh), async (c) => {
    const { refresh_token: token } = c.req.valid('json')
    const refreshed = await refreshSession(changeOf(c, null), token, c.var.settings)
    return refreshed.ok
      ? c.json(presentTokens(c, refreshed.value), 201)
      : denied(c, refreshed.reason)
  })
  .get('/v1/sessions', requireUser(), validQuery(pageQuery), async (c) => {
    const { user, now } = c.var
    const { limit, cursor } = c.req.valid('query')
    const page = await listSessions(c.env.DB, user.id, { limit, after: cursor }, now)
    const last = page.hasMore ? page.sessions.at(-1) : undefined
    return c.json({
      items: page.sessions.map((session) => present(session, user.sessionId)),
      next_cursor: nextCursor(last && { at: last.createdAt, id: last.id }),
    })
  })
  .delete('/v1/sessions/:id', requireUser(), async (c) => {
    const { user } = c.var
    const named = c.req.param('id')
    const id = named === 'current' ? user.sessionId : named
    const ended = await endSession(changeOf(c, user.id), user.id, id)
    return ended.ok ? c.body(null, 204) : problem(c, 'not-found')
  })

export function userAgentOf(c: AppContext): string | null {
  return c.req.header('user-agent')?.slice(0, USER_AGENT_MAX_CHARACTERS) ?? null
}

function presentTokens(c: AppContext, tokens: SessionTokens) {
  c.var.log.userId = tokens.userId
  return {
    access_token: tokens.accessToken,
    token_type: 'Bearer' as const,
    expires_in: ACCESS_TOKEN_SECONDS,
    refresh_token: tokens.refreshToken,
  }
}

function present(session: Session, currentId: string) {
  return {
    id: session.id,
    current: session.id === currentId,
    ip: session.ip,
    user_agent: session.userAgent,
    created_at: timestamp(session.createdAt),
    refreshed_at: timestamp(session.refreshedAt),
    expires_at: timestamp(session.expiresAt),
  }
}

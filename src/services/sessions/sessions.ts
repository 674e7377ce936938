import { and, desc, eq, gt, isNull, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { isBefore, type Position } from '../../db/keyset.ts'
import { sessions } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { DAY_MS } from '../../domain/time.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import { withdrawClaims } from '../changes/withdraw-claims.ts'
import type { AuditContext, VerifyContext } from '../context.ts'

/** How long a session lives unused, and how long however much it is used. */
export const SESSION_IDLE_MS = 30 * DAY_MS
export const SESSION_LIFETIME_MS = 90 * DAY_MS

/** What a session hands out: an access token to call with, a refresh token to get the next. */
export type SessionTokens = {
  readonly userId: string
  readonly sessionId: string
  readonly accessToken: string
  readonly refreshToken: string
}

export type Session = {
  readonly id: string
  readonly ip: string | null
  readonly userAgent: string | null
  readonly createdAt: number
  readonly refreshedAt: number
  readonly expiresAt: number
}

export function liveSessionOf(userId: string, now: number) {
  return and(eq(sessions.userId, userId), isNull(sessions.revokedAt), gt(sessions.expiresAt, now))
}

/** A page of the user's live sessions, newest first, and whether more follow. */
export async function listSessions(
  { database, now }: VerifyContext,
  query: {
    readonly userId: string
    readonly limit: number
    readonly after?: Position | undefined
  },
): Promise<{ sessions: Session[]; hasMore: boolean }> {
  const { userId, limit, after } = query
  const { id, ip, userAgent, createdAt, refreshedAt, expiresAt } = sessions
  const rows = await openDatabase(database)
    .select({ id, ip, userAgent, createdAt, refreshedAt, expiresAt })
    .from(sessions)
    .where(
      and(
        liveSessionOf(userId, now),
        after === undefined ? undefined : isBefore(createdAt, id, after),
      ),
    )
    .orderBy(desc(createdAt), desc(id))
    .limit(limit + 1)
  return { sessions: rows.slice(0, limit), hasMore: rows.length > limit }
}

/**
 * Ends one live session of the user. Where another session ends it, what it approved and was not
 * handed out yet is withdrawn. What ends itself, as the page /claim does, was in the right hands.
 */
export async function revokeSession(
  ctx: AuditContext,
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
): Promise<Result<void, 'not_found'>> {
  const live = and(liveSessionOf(userId, ctx.now), eq(sessions.id, sessionId))
  const change = openChange(
    ctx,
    { action: 'session.ended', userId, before: { session_id: sessionId } },
    sql`exists (select 1 from ${sessions} where ${live})`,
  )
  const isByAnother = ctx.actor.type === 'user' && ctx.actor.sessionId !== sessionId
  const { happened } = await commit(change, {
    ended: change.update(sessions, { revokedAt: ctx.now }, eq(sessions.id, sessionId)),
    ...(isByAnother ? { claims: withdrawClaims(change, { userId, sessionId }) } : {}),
  })
  return happened ? ok(undefined) : err('not_found')
}

import { and, eq, gt, isNull, notInArray, sql } from 'drizzle-orm'
import { sha256 } from '../../crypto/digest.ts'
import { newId } from '../../crypto/ids.ts'
import { isCheckGenuine } from '../../crypto/key-check.ts'
import { makeRefreshToken } from '../../crypto/secrets.ts'
import { batch } from '../../db/batch.ts'
import { type Database, openDatabase } from '../../db/client.ts'
import { sessions, users } from '../../db/schema.ts'
import type { Denial } from '../../domain/evaluate-key.ts'
import { parseRefreshToken } from '../../domain/refresh-token-format.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { recordAudit } from '../changes/record-audit.ts'
import type { AuditContext } from '../context.ts'
import { signAccessToken } from './access-token.ts'
import { SESSION_IDLE_MS, SESSION_LIFETIME_MS, type SessionTokens } from './sessions.ts'

/**
 * Exchanges a session's current refresh token for the next. A made-up one is refused without I/O.
 * A genuine one that is not current was spent before, by someone: the session ends (RFC 9700
 * §4.14.2). Of any number at once, at most one wins.
 */
export async function refreshSession(
  ctx: AuditContext,
  refreshToken: string,
): Promise<Result<SessionTokens, Denial>> {
  const { settings } = ctx
  const parsed = parseRefreshToken(refreshToken)
  if (parsed === undefined) return err('not_found')
  const { sessionId, unchecked, check } = parsed
  if (!(await isCheckGenuine(unchecked, check, settings.checkSecrets))) return err('not_found')

  const next = await makeRefreshToken(sessionId, settings.checkSecrets)
  const userId = await exchange(ctx, sessionId, await sha256(refreshToken), next.hash)
  if (userId === undefined) {
    return err(await refusalOf(openDatabase(ctx.database), sessionId, ctx.now))
  }
  const accessToken = await signAccessToken(ctx, { userId, sessionId })
  return ok({ userId, sessionId, accessToken, refreshToken: next.token })
}

/** @returns whose session it is, if it goes on under the next hash */
async function exchange(
  ctx: AuditContext,
  sessionId: string,
  presentedHash: string,
  nextHash: string,
): Promise<string | undefined> {
  const { now } = ctx
  const db = openDatabase(ctx.database)
  const live = and(
    eq(sessions.id, sessionId),
    isNull(sessions.revokedAt),
    gt(sessions.expiresAt, now),
  )
  const enabledOwner = sql`exists (select 1 from ${users}
    where ${users.id} = ${sessions.userId} and ${users.disabledAt} is null)`
  // The new hash is the witness: this hits only if the first statement found another's hash.
  const reused = and(live, notInArray(sessions.refreshHash, [nextHash, presentedHash]))
  const owner = sql`(select ${sessions.userId} from ${sessions}
    where ${sessions.id} = ${sessionId})`
  const { refreshed } = await batch(db, {
    refreshed: db
      .update(sessions)
      .set({
        refreshHash: nextHash,
        refreshedAt: now,
        expiresAt: sql`min(${now + SESSION_IDLE_MS},
          ${sessions.createdAt} + ${SESSION_LIFETIME_MS})`,
      })
      .where(and(live, eq(sessions.refreshHash, presentedHash), enabledOwner))
      .returning({ userId: sessions.userId }),
    audit: recordAudit(
      db,
      ctx,
      newId('evt'),
      { action: 'session.reuse_detected', before: { session_id: sessionId }, userId: owner },
      sql`exists (select 1 from ${sessions} where ${reused})`,
    ),
    ended: db.update(sessions).set({ revokedAt: now }).where(reused),
  })
  return refreshed[0]?.userId
}

/** Why a genuine refresh token was refused: for the answer only, nothing is decided here. */
async function refusalOf(db: Database, sessionId: string, now: number): Promise<Denial> {
  const [session] = await db
    .select({ revokedAt: sessions.revokedAt, expiresAt: sessions.expiresAt })
    .from(sessions)
    .where(eq(sessions.id, sessionId))
  if (session === undefined || session.revokedAt !== null) return 'revoked'
  return session.expiresAt <= now ? 'expired' : 'disabled'
}

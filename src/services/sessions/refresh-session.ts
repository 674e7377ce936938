import { and, eq, gt, inArray, isNull, lte, ne, notInArray, or, sql } from 'drizzle-orm'
import { sha256 } from '../../crypto/digest.ts'
import { newId } from '../../crypto/ids.ts'
import { isCheckGenuine } from '../../crypto/key-check.ts'
import { deriveSuccessors } from '../../crypto/refresh-successor.ts'
import { batch } from '../../db/batch.ts'
import { type Database, openDatabase } from '../../db/client.ts'
import { deviceClaims, sessions, users } from '../../db/schema.ts'
import type { Denial } from '../../domain/evaluate-key.ts'
import { parseRefreshToken, refreshTokenStart } from '../../domain/refresh-token-format.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { MINUTE_MS } from '../../domain/time.ts'
import { recordAudit } from '../changes/record-audit.ts'
import { unspentClaims } from '../changes/withdraw-claims.ts'
import type { AuditContext } from '../context.ts'
import { signAccessToken } from './access-token.ts'
import { SESSION_IDLE_MS, SESSION_LIFETIME_MS, type SessionTokens } from './sessions.ts'

/** For how long a refresh token that was exchanged yields what it yielded before. */
const REPLAY_MS = MINUTE_MS

/** A genuine refresh token that is presented, and what may follow it: by their hashes. */
type Presented = {
  readonly sessionId: string
  readonly hash: string
  readonly newHash: string
  readonly successorHashes: readonly string[]
}

/**
 * Exchanges a session's current refresh token for the next. A made-up one is refused without I/O.
 *
 * The answer may be lost, so the token can be presented again: within 60 s it yields the same
 * successor, later another in its place, while the successor was not used. For 60 s after that
 * use, a tab that was late still gets the successor. Any other genuine token is older or was
 * replaced, and somebody else holds what followed it: the session ends (RFC 9700 §4.14.2).
 */
export async function refreshSession(
  ctx: AuditContext,
  refreshToken: string,
): Promise<Result<SessionTokens, Denial>> {
  const { checkSecrets } = ctx.settings
  const parsed = parseRefreshToken(refreshToken)
  if (parsed === undefined) return err('not_found')
  const { sessionId, unchecked, check } = parsed
  if (!(await isCheckGenuine(unchecked, check, checkSecrets))) return err('not_found')

  const origin = { presented: refreshToken, start: refreshTokenStart(sessionId) }
  const { newHash, tokens } = await deriveSuccessors(origin, checkSecrets, ctx.now)
  const hash = await sha256(refreshToken)
  const exchanged = await exchange(ctx, {
    sessionId,
    hash,
    newHash,
    successorHashes: [...tokens.keys()],
  })
  const next = exchanged && tokens.get(exchanged.nextHash)
  if (exchanged === undefined || next === undefined) {
    return err(await refusalOf(openDatabase(ctx.database), sessionId, ctx.now))
  }
  const { userId } = exchanged
  const accessToken = await signAccessToken(ctx, { userId, sessionId })
  return ok({ userId, sessionId, accessToken, refreshToken: next })
}

/** @returns whose session it is and the hash of the token that it goes on under, if it does */
async function exchange(
  ctx: AuditContext,
  presented: Presented,
): Promise<{ readonly userId: string; readonly nextHash: string } | undefined> {
  const { now } = ctx
  const { sessionId, hash, newHash } = presented
  const db = openDatabase(ctx.database)
  const { isDue, isPredecessor, isServed, isReused } = statesOf(presented, now)
  const owner = sql`(select ${sessions.userId} from ${sessions}
    where ${sessions.id} = ${sessionId})`
  const { found } = await batch(db, {
    refreshed: db
      .update(sessions)
      .set({
        previousHash: hash,
        refreshHash: newHash,
        refreshedAt: now,
        expiresAt: sql`min(${now + SESSION_IDLE_MS},
          ${sessions.createdAt} + ${SESSION_LIFETIME_MS})`,
      })
      .where(isDue),
    found: db
      .select({
        userId: sessions.userId,
        nextHash: sql<string>`iif(${isPredecessor}, ${sessions.refreshHash},
          ${sessions.previousHash})`,
      })
      .from(sessions)
      .where(isServed),
    audit: recordAudit(
      db,
      ctx,
      newId('evt'),
      { action: 'session.reuse_detected', before: { session_id: sessionId }, userId: owner },
      sql`exists (select 1 from ${sessions} where ${isReused})`,
    ),
    // What the session approved goes with it, while the session still says that it was reused.
    claims: db
      .update(deviceClaims)
      .set({ deniedAt: now })
      .where(
        and(
          unspentClaims({ userId: owner, sessionId }),
          sql`exists (select 1 from ${sessions} where ${isReused})`,
        ),
      ),
    ended: db.update(sessions).set({ revokedAt: now }).where(isReused),
  })
  return found[0]
}

/**
 * What a presented token may be to its session. Exactly one of `isServed` and `isReused` holds for
 * a live session once `isDue` was acted upon. Neither does while the owner is disabled: that is no
 * reuse, and the session goes on if the owner is enabled again.
 */
function statesOf({ sessionId, hash, successorHashes }: Presented, now: number) {
  const live = and(
    eq(sessions.id, sessionId),
    isNull(sessions.revokedAt),
    gt(sessions.expiresAt, now),
    sql`exists (select 1 from ${users}
      where ${users.id} = ${sessions.userId} and ${users.disabledAt} is null)`,
  )
  const previous = sql<string>`coalesce(${sessions.previousHash}, '')`
  const isPredecessor = eq(previous, hash)
  const hashes = [...successorHashes]
  const recently = gt(sessions.refreshedAt, now - REPLAY_MS)
  const longAgo = lte(sessions.refreshedAt, now - REPLAY_MS)
  // A successor that this request cannot make (a clock that stepped far back, a check secret that
  // is no longer listed) cannot be given again: it is replaced at once.
  const replaced = and(isPredecessor, or(longAgo, notInArray(sessions.refreshHash, hashes)))
  return {
    isPredecessor,
    isDue: and(live, or(eq(sessions.refreshHash, hash), replaced)),
    isServed: and(live, or(isPredecessor, and(inArray(previous, hashes), recently))),
    isReused: and(live, ne(previous, hash), or(notInArray(previous, hashes), longAgo)),
  }
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

import { and, desc, eq, gt, isNull, lt, notInArray, sql } from 'drizzle-orm'
import { sha256 } from '../../crypto/digest.ts'
import { newId } from '../../crypto/ids.ts'
import { isCheckGenuine } from '../../crypto/key-check.ts'
import {
  decoyHash,
  hashPassword,
  needsRehash,
  type PasswordAlgorithm,
  verifyPassword,
} from '../../crypto/password.ts'
import { makeRefreshToken } from '../../crypto/secrets.ts'
import { openDatabase, type Database } from '../../db/client.ts'
import { sessions, users } from '../../db/schema.ts'
import type { Denial } from '../../domain/evaluate-key.ts'
import { usernameKey } from '../../domain/names.ts'
import { parseRefreshToken } from '../../domain/refresh-token-format.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { Settings } from '../../settings.ts'
import { signAccessToken } from './access-token.ts'
import { recordAudit, type Change } from '../changes/record-audit.ts'
import { isBefore, type Position } from '../../db/keyset.ts'

const DAY_MS = 86_400_000
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

export type SignInInput = {
  readonly username: string
  readonly password: string
  readonly userAgent: string | null
  /** How long it may stand unused; SESSION_IDLE_MS unless said. */
  readonly idleMs?: number
}

/** Opens a session for a username and password. */
export async function signIn(
  change: Change,
  input: SignInInput,
  settings: Settings,
): Promise<Result<SessionTokens, 'invalid_credentials' | 'disabled'>> {
  const db = openDatabase(change.database)
  const user = await authenticate(db, input, settings.passwordAlgorithm)
  if (user === undefined) return err('invalid_credentials')
  if (user.disabledAt !== null) return err('disabled')

  const stored = user.passwordHash
  const sessionId = newId('sess')
  const { token, hash } = await makeRefreshToken(sessionId, settings.checkSecrets)
  const passwordHash = needsRehash(stored, settings.passwordAlgorithm)
    ? hashPassword(input.password, settings.passwordAlgorithm)
    : stored
  // The verified hash guards the insert: a password changed meanwhile opens nothing.
  const verified = and(
    eq(users.id, user.id),
    eq(users.passwordHash, stored),
    isNull(users.disabledAt),
  )
  const opened = sql`exists (select 1 from ${sessions} where ${sessions.id} = ${sessionId})`
  const [inserted] = await db.batch([
    db
      .insert(sessions)
      .select(
        sql`select ${sessionId}, ${users.id}, ${hash}, ${change.ip}, ${input.userAgent},
          ${change.now}, ${change.now}, ${change.now + (input.idleMs ?? SESSION_IDLE_MS)}, null
          from ${users} where ${verified}`,
      )
      .returning({ id: sessions.id }),
    db.update(users).set({ passwordHash }).where(and(verified, opened)),
    db
      .delete(sessions)
      .where(and(eq(sessions.userId, user.id), lt(sessions.expiresAt, change.now))),
    recordAudit(
      db,
      { ...change, actor: { type: 'user', id: user.id } },
      { action: 'session.created', userId: user.id, after: { session_id: sessionId } },
      opened,
    ),
  ])
  if (inserted.length === 0) return err('invalid_credentials')
  const accessToken = await signAccessToken(user.id, sessionId, settings, change.now)
  return ok({ userId: user.id, sessionId, accessToken, refreshToken: token })
}

/**
 * Unknown usernames take the same path as wrong passwords, hash included, so that the time tells
 * nothing.
 */
async function authenticate(db: Database, input: SignInInput, algorithm: PasswordAlgorithm) {
  const [user] = await db
    .select()
    .from(users)
    .where(eq(users.usernameKey, usernameKey(input.username)))
  const isRight = verifyPassword(input.password, user?.passwordHash ?? decoyHash(algorithm))
  return isRight ? user : undefined
}

/**
 * Exchanges a session's current refresh token for the next. A made-up one is refused without I/O.
 * A genuine one that is not current was spent before, by someone: the session ends (RFC 9700
 * §4.14.2). Of any number at once, at most one wins.
 */
export async function refreshSession(
  change: Change,
  refreshToken: string,
  settings: Settings,
): Promise<Result<SessionTokens, Denial>> {
  const parsed = parseRefreshToken(refreshToken)
  if (parsed === undefined) return err('not_found')
  const { sessionId, unchecked, check } = parsed
  if (!(await isCheckGenuine(unchecked, check, settings.checkSecrets))) return err('not_found')

  const db = openDatabase(change.database)
  const presentedHash = await sha256(refreshToken)
  const next = await makeRefreshToken(sessionId, settings.checkSecrets)
  const live = and(
    eq(sessions.id, sessionId),
    isNull(sessions.revokedAt),
    gt(sessions.expiresAt, change.now),
  )
  const enabledOwner = sql`exists (select 1 from ${users}
    where ${users.id} = ${sessions.userId} and ${users.disabledAt} is null)`
  // The new hash is the witness: this hits only if the first statement found another's hash.
  const reused = and(live, notInArray(sessions.refreshHash, [next.hash, presentedHash]))
  const [refreshed] = await db.batch([
    db
      .update(sessions)
      .set({
        refreshHash: next.hash,
        refreshedAt: change.now,
        expiresAt: sql`min(${change.now + SESSION_IDLE_MS},
          ${sessions.createdAt} + ${SESSION_LIFETIME_MS})`,
      })
      .where(and(live, eq(sessions.refreshHash, presentedHash), enabledOwner))
      .returning({ userId: sessions.userId }),
    recordAudit(
      db,
      change,
      {
        action: 'session.reuse_detected',
        before: { session_id: sessionId },
        userId: sql`(select ${sessions.userId} from ${sessions} where ${sessions.id} = ${sessionId})`,
      },
      sql`exists (select 1 from ${sessions} where ${reused})`,
    ),
    db.update(sessions).set({ revokedAt: change.now }).where(reused),
  ])
  const [session] = refreshed
  if (session === undefined) return err(await refusalOf(db, sessionId, change.now))
  const { userId } = session
  const accessToken = await signAccessToken(userId, sessionId, settings, change.now)
  return ok({ userId, sessionId, accessToken, refreshToken: next.token })
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

/** A page of the user's live sessions, newest first, and whether more follow. */
export async function listSessions(
  database: D1Database,
  userId: string,
  query: { readonly limit: number; readonly after?: Position | undefined },
  now: number,
): Promise<{ sessions: Session[]; hasMore: boolean }> {
  const { limit, after } = query
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

/** Ends one live session of the user. */
export async function endSession(
  change: Change,
  userId: string,
  sessionId: string,
): Promise<Result<void, 'not_found'>> {
  const db = openDatabase(change.database)
  const live = and(liveSessionOf(userId, change.now), eq(sessions.id, sessionId))
  const [, ended] = await db.batch([
    recordAudit(
      db,
      change,
      { action: 'session.ended', userId, before: { session_id: sessionId } },
      sql`exists (select 1 from ${sessions} where ${live})`,
    ),
    db.update(sessions).set({ revokedAt: change.now }).where(live).returning({ id: sessions.id }),
  ])
  return ended.length > 0 ? ok(undefined) : err('not_found')
}

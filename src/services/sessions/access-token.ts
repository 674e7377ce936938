import { eq } from 'drizzle-orm'
import { signToken, verifyToken } from '../../crypto/jwt.ts'
import { openDatabase } from '../../db/client.ts'
import { sessions, users } from '../../db/schema.ts'
import type { Denial } from '../../domain/evaluate-key.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { type Settings, USER_AUDIENCE } from '../../settings.ts'

export const ACCESS_TOKEN_SECONDS = 900

export type SignedInUser = {
  readonly id: string
  readonly username: string
  readonly role: 'user' | 'admin'
  readonly createdAt: number
  readonly sessionId: string
}

/** @param now milliseconds */
export async function signAccessToken(
  userId: string,
  sessionId: string,
  settings: Settings,
  now: number,
): Promise<string> {
  const iat = Math.floor(now / 1000)
  const claims = {
    iss: settings.publicUrl,
    aud: USER_AUDIENCE,
    sub: userId,
    sid: sessionId,
    iat,
    exp: iat + ACCESS_TOKEN_SECONDS,
  }
  return await signToken(claims, settings.signingKeys)
}

/**
 * Who presents this access token. One read of session and user, so that ending a session, disabling
 * a user and changing a role act at once: the role is the database's, not the token's.
 */
export async function verifyAccessToken(
  database: D1Database,
  token: string,
  settings: Settings,
  now: number,
): Promise<Result<SignedInUser, Denial>> {
  const expected = {
    ring: settings.signingKeys,
    issuer: settings.publicUrl,
    audiences: [USER_AUDIENCE],
  }
  const verified = await verifyToken(token, expected, now)
  if (!verified.ok) return err(verified.reason === 'expired' ? 'expired' : 'not_found')
  const { sub, sid } = verified.value
  if (typeof sid !== 'string') return err('not_found')
  const [row] = await openDatabase(database)
    .select({
      id: users.id,
      username: users.username,
      role: users.role,
      createdAt: users.createdAt,
      disabledAt: users.disabledAt,
      endedAt: sessions.revokedAt,
      expiresAt: sessions.expiresAt,
    })
    .from(sessions)
    .innerJoin(users, eq(users.id, sessions.userId))
    .where(eq(sessions.id, sid))
  if (row === undefined || row.id !== sub || row.endedAt !== null) return err('revoked')
  if (row.expiresAt <= now) return err('expired')
  if (row.disabledAt !== null) return err('disabled')
  const { id, username, role, createdAt } = row
  return ok({ id, username, role, createdAt, sessionId: sid })
}

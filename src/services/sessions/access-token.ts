import { eq } from 'drizzle-orm'
import { type Expected, signToken, verifyToken } from '../../crypto/jwt.ts'
import { openDatabase } from '../../db/client.ts'
import { sessions, users } from '../../db/schema.ts'
import type { Denial } from '../../domain/evaluate-key.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { type CLAIMS_AUDIENCE, USER_AUDIENCE } from '../../settings-schema.ts'
import type { VerifyContext } from '../context.ts'

export const ACCESS_TOKEN_SECONDS = 900

/** What a token opens: all that is the user's, or the page /claim alone. */
export type AccessAudience = typeof USER_AUDIENCE | typeof CLAIMS_AUDIENCE

export type SignedInUser = {
  readonly id: string
  readonly username: string
  readonly role: 'user' | 'admin'
  readonly createdAt: number
  /** The user's own cap on devices; null: USER_MAX_DEVICES holds. */
  readonly maxDevices: number | null
  readonly sessionId: string
}

/** Signs the token with which a user calls while the session lives. */
export async function signAccessToken(
  { settings, now }: Pick<VerifyContext, 'settings' | 'now'>,
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
  audience: AccessAudience = USER_AUDIENCE,
): Promise<string> {
  const iat = Math.floor(now / SECOND_MS)
  const claims = {
    iss: settings.publicUrl,
    aud: audience,
    sub: userId,
    sid: sessionId,
    iat,
    exp: iat + ACCESS_TOKEN_SECONDS,
  }
  return await signToken(claims, settings.signingKeys, 'JWT')
}

/**
 * Who presents this access token. One read of session and user, so that ending a session, disabling
 * a user and changing a role act at once: the role is the database's, not the token's.
 */
export async function verifyAccessToken(
  { database, settings, now }: VerifyContext,
  token: string,
  audience: AccessAudience = USER_AUDIENCE,
): Promise<Result<SignedInUser, Denial>> {
  const expected: Expected = {
    ring: settings.signingKeys,
    issuer: settings.publicUrl,
    audiences: [audience],
    types: ['JWT'],
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
      maxDevices: users.maxDevices,
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
  const { id, username, role, createdAt, maxDevices } = row
  return ok({ id, username, role, createdAt, maxDevices, sessionId: sid })
}

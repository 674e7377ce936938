import { and, eq, ne, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { hashPassword, type PasswordAlgorithm, verifyPassword } from '../../crypto/password.ts'
import { openDatabase } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { devices, sessions, users } from '../../db/schema.ts'
import { usernameKey } from '../../domain/names.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { recordAudit, type Change } from '../changes/record-audit.ts'
import { removeDevices } from '../devices/remove-devices.ts'
import { evictingAfter } from '../changes/evict-after.ts'
import { recordRevocation } from '../verify/read-feed.ts'
import { liveSessionOf } from '../sessions/sessions.ts'

export type User = {
  readonly id: string
  readonly username: string
  readonly role: 'user' | 'admin'
  readonly createdAt: number
}

/** Makes an account. The username must be normalized (domain/names.ts). */
export async function registerUser(
  change: Change,
  input: { readonly username: string; readonly password: string },
  algorithm: PasswordAlgorithm,
): Promise<Result<User, 'username_taken'>> {
  const db = openDatabase(change.database)
  const { username } = input
  const user: User = { id: newId('user'), username, role: 'user', createdAt: change.now }
  const passwordHash = hashPassword(input.password, algorithm)
  try {
    await db.batch([
      db.insert(users).values({ ...user, usernameKey: usernameKey(username), passwordHash }),
      recordAudit(
        db,
        { ...change, actor: { type: 'user', id: user.id } },
        { action: 'user.created', userId: user.id, after: { username, role: user.role } },
      ),
    ])
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'users.username_key') return err('username_taken')
    throw thrown
  }
  return ok(user)
}

/** Sets a new password and ends every other session, if the current password is right. */
export async function changePassword(
  change: Change,
  who: { readonly userId: string; readonly sessionId: string },
  passwords: { readonly current: string; readonly next: string },
  algorithm: PasswordAlgorithm,
): Promise<Result<void, 'wrong_password'>> {
  const db = openDatabase(change.database)
  const verified = await verifiedHash(change, who.userId, passwords.current)
  if (verified === undefined) return err('wrong_password')
  const passwordHash = hashPassword(passwords.next, algorithm)
  // The new hash is the witness: of two changes at once, one finds the verified hash gone.
  const changed = sql`exists (select 1 from ${users}
    where ${users.id} = ${who.userId} and ${users.passwordHash} = ${passwordHash})`
  const [updated] = await db.batch([
    db
      .update(users)
      .set({ passwordHash })
      .where(and(eq(users.id, who.userId), eq(users.passwordHash, verified)))
      .returning({ id: users.id }),
    db
      .update(sessions)
      .set({ revokedAt: change.now })
      .where(and(liveSessionOf(who.userId, change.now), ne(sessions.id, who.sessionId), changed)),
    recordAudit(db, change, { action: 'user.password_changed', userId: who.userId }, changed),
  ])
  return updated.length > 0 ? ok(undefined) : err('wrong_password')
}

/**
 * Deletes an account and all that it owns, if the current password is right. The hashes of its
 * secrets stay as tombstones, so that a late caller is told `revoked` and no import revives them;
 * its audit events stay too.
 */
export async function deleteUser(
  change: Change,
  userId: string,
  currentPassword: string,
): Promise<Result<void, 'wrong_password'>> {
  const db = openDatabase(change.database)
  const verified = await verifiedHash(change, userId, currentPassword)
  if (verified === undefined) return err('wrong_password')
  const theirs = and(eq(users.id, userId), eq(users.passwordHash, verified))
  const exists = sql`exists (select 1 from ${users} where ${theirs})`
  const audit = {
    action: 'user.deleted',
    userId,
    before: sql`(select json_object('username', ${users.username}) from ${users} where ${theirs})`,
  } as const
  const results = await evictingAfter(
    userId,
    async () =>
      await db.batch([
        recordAudit(db, change, audit, exists),
        recordRevocation(db, userId, change.now, exists),
        ...removeDevices(db, change.now, userId, and(eq(devices.userId, userId), exists)),
        db.delete(sessions).where(and(eq(sessions.userId, userId), exists)),
        db.delete(users).where(theirs).returning({ id: users.id }),
      ]),
    ([, , , , , , , deleted]) => deleted.length > 0,
  )
  return results[7].length > 0 ? ok(undefined) : err('wrong_password')
}

/** The user's stored hash, if the password is the one that it was made of. */
async function verifiedHash(
  change: Change,
  userId: string,
  password: string,
): Promise<string | undefined> {
  const [user] = await openDatabase(change.database)
    .select({ passwordHash: users.passwordHash })
    .from(users)
    .where(eq(users.id, userId))
  if (user === undefined || !verifyPassword(password, user.passwordHash)) return undefined
  return user.passwordHash
}

import { pbkdf2Sync } from 'node:crypto'
import { env } from 'cloudflare:workers'
import { newId } from '../../src/crypto/ids.ts'
import { hashPassword } from '../../src/crypto/password.ts'
import { openDatabase } from '../../src/db/client.ts'
import { sessions, users } from '../../src/db/schema.ts'
import { usernameKey } from '../../src/domain/names.ts'
import { SESSION_IDLE_MS } from '../../src/services/sessions/sessions.ts'
import { signAccessToken } from '../../src/services/sessions/access-token.ts'
import { loadSettings } from '../../src/settings.ts'
import { call, pick } from './client.ts'
import { execute } from './rows.ts'

export const PASSWORD = 'correct horse battery staple'

/** Hashed once a file: a hash takes 150 ms, and most tests only need somebody. */
let passwordHash: string | undefined

export type TestUser = {
  readonly id: string
  readonly username: string
  readonly sessionId: string
  readonly token: string
}

/** A user with a session, made in the database; the password is `PASSWORD`. */
export async function makeUser(role: 'user' | 'admin' = 'user'): Promise<TestUser> {
  passwordHash ??= hashPassword(PASSWORD, 'scrypt')
  const now = Date.now()
  const id = newId('user')
  const sessionId = newId('sess')
  const username = id.replace('_', '-')
  const db = openDatabase(env.DB)
  await db.batch([
    db.insert(users).values({
      id,
      username,
      usernameKey: usernameKey(username),
      passwordHash,
      role,
      createdAt: now,
    }),
    db.insert(sessions).values({
      id: sessionId,
      userId: id,
      refreshHash: 'none',
      createdAt: now,
      refreshedAt: now,
      expiresAt: now + SESSION_IDLE_MS,
    }),
  ])
  const token = await signAccessToken(
    { settings: loadSettings(env), now },
    { userId: id, sessionId },
  )
  return { id, username, sessionId, token }
}

export type TestDevice = {
  readonly id: string
  readonly name: string
  readonly keyId: string
  readonly secret: string
}

/** Gives the user a password that costs next to nothing to check, for tests that send it often. */
export async function setCheapPassword(user: TestUser, password: string): Promise<void> {
  const salt = 'AAAAAAAAAAAAAAAAAAAAAA'
  const hash = pbkdf2Sync(password, Buffer.from(salt, 'base64'), 1, 32, 'sha256')
  const stored = `$pbkdf2-sha256$i=1$${salt}$${hash.toString('base64').replaceAll('=', '')}`
  await execute('update users set password_hash = ? where id = ?', stored, user.id)
}

/** A device of the user's, made through the API. */
export async function makeDevice(user: TestUser, name = newId('dev')): Promise<TestDevice> {
  const { body } = await call('POST', '/v1/devices', { token: user.token, body: { name } })
  return {
    id: pick(body, 'device', 'id'),
    name,
    keyId: pick(body, 'key', 'id'),
    secret: pick(body, 'api_key'),
  }
}

/** Puts the first use of a device's secrets on record, so that no verify of the test writes it. */
export async function markUsed({ keyId }: Pick<TestDevice, 'keyId'>): Promise<void> {
  await execute('update key_secrets set first_used_at = 1 where key_id = ?', keyId)
}

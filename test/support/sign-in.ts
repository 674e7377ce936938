import { env } from 'cloudflare:workers'
import { expect } from 'vitest'
import { type Answer, call, pick } from './client.ts'
import { makeUser, PASSWORD, setCheapPassword, type TestUser } from './fixtures.ts'
import { auditOf } from './rows.ts'

/** Hashes in a tenth of the time that scrypt takes. */
export const cheapHashing = { ...env, PASSWORD_HASH: 'pbkdf2' }

/** What signing in and refreshing answer with. */
export const TOKENS = {
  access_token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
  token_type: 'Bearer',
  expires_in: 900,
  refresh_token: expect.stringMatching(/^lkr_[0-9a-z]{26}[0-9A-Za-z]{40}$/),
}

/** A user whose password, `PASSWORD`, costs next to nothing to check. */
export async function makeCheapUser(): Promise<TestUser> {
  const user = await makeUser()
  await setCheapPassword(user, PASSWORD)
  return user
}

export async function signIn(
  { username }: { readonly username: string },
  password = PASSWORD,
): Promise<Answer> {
  return await call('POST', '/v1/sessions', { body: { username, password }, env: cheapHashing })
}

/** The first refresh token of a new session of the user's. */
export async function openSession(user: TestUser): Promise<string> {
  return pick((await signIn(user)).body, 'refresh_token')
}

/** Presents a refresh token. */
export async function refresh(refreshToken: string, environment: Env = env): Promise<Answer> {
  const body = { refresh_token: refreshToken }
  return await call('POST', '/v1/sessions/refresh', { body, env: environment })
}

/** Presents a refresh token that must be accepted, and returns the next. */
export async function nextOf(refreshToken: string, environment: Env = env): Promise<string> {
  const { status, body, text } = await refresh(refreshToken, environment)
  expect({ status, text }).toMatchObject({ status: 201 })
  return pick(body, 'refresh_token')
}

/** What was audited of the user, oldest first. */
export async function actionsOf(user: TestUser): Promise<string[]> {
  return (await auditOf(user.id)).map(({ action }) => action)
}

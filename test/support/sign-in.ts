import { env } from 'cloudflare:workers'
import { expect } from 'vitest'
import { type Answer, call } from './client.ts'
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

/** What was audited of the user, oldest first. */
export async function actionsOf(user: TestUser): Promise<string[]> {
  return (await auditOf(user.id)).map(({ action }) => action)
}

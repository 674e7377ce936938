import { expect } from 'vitest'
import { askForCodes, type Asker, postForm } from './claims.ts'
import type { Answer, CallOptions } from './client.ts'
import { PASSWORD, type TestUser } from './fixtures.ts'
import { countRows } from './rows.ts'
import { cheapHashing, makeCheapUser } from './sign-in.ts'

/** Signs in on the page /claim, with a code. */
export async function signInOnPage(
  { username }: TestUser,
  { userCode }: Pick<Asker, 'userCode'>,
  options: CallOptions & { readonly password?: string } = {},
): Promise<Answer> {
  const { password = PASSWORD, ...rest } = options
  const fields = { username, password, user_code: userCode }
  return await postForm('/claim', fields, { env: cheapHashing, ...rest })
}

/** The value of a field of the form on a page. */
export function fieldOf({ text }: Answer, name: string): string {
  const value = new RegExp(`name="${name}"[^>]* value="([^"]*)"`).exec(text)?.[1]
  if (value === undefined) throw new Error(`no field ${name} in ${text}`)
  return value
}

/** Answers with the form that a page shows. */
export async function answer(
  shown: Answer,
  fields: Readonly<Record<string, string>>,
  options: CallOptions = {},
): Promise<Answer> {
  const hidden = {
    access_token: fieldOf(shown, 'access_token'),
    user_code: fieldOf(shown, 'user_code'),
  }
  return await postForm('/claim', { ...hidden, ...fields }, options)
}

/** Sessions that a page opened and has not ended. */
export async function openSessions(user: TestUser): Promise<number> {
  const open = 'user_id = ? and revoked_at is null and id <> ?'
  return await countRows('sessions', open, user.id, user.sessionId)
}

/** A page with a message, in which nobody is signed in. */
export function expectSignInPage(page: Answer, status: number, said: string): void {
  expect(page.status).toBe(status)
  expect(page.text).toContain(said)
  expect(page.text).toContain('role="alert"')
  expect(page.text).toContain('name="password"')
  expect(page.text).not.toContain('access_token')
}

/** Somebody, and a device that asks. */
export async function setUp(fields: Readonly<Record<string, string>> = {}) {
  return { user: await makeCheapUser(), asker: await askForCodes(fields) }
}

import { describe, expect, it } from 'vitest'
import { hashPassword } from '../../src/crypto/password.ts'
import { call, pick } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { execute, rowsOf } from '../support/rows.ts'
import { cheapHashing, signIn } from '../support/sign-in.ts'

const COMPOSED = 'pássw\u00F6rd number 1'
const DECOMPOSED = COMPOSED.normalize('NFD')

const register = async (username: string, password: string) =>
  await call('POST', '/v1/users', { body: { username, password }, env: cheapHashing })

const hashOf = async ({ id }: TestUser) => {
  const [row] = await rowsOf('select password_hash from users where id = ?', id)
  return String(row?.['password_hash'])
}

/** Gives the user a password as an older version hashed it: not normalized. */
async function hashAsGiven({ id }: TestUser, password: string): Promise<void> {
  const stored = hashPassword(password, 'pbkdf2')
  await execute('update users set password_hash = ? where id = ?', stored, id)
}

describe('a password (RFC 8265 §4.2)', () => {
  it.each([
    ['composed letters', 'set decomposed', DECOMPOSED, COMPOSED],
    ['decomposed letters', 'set composed', COMPOSED, DECOMPOSED],
    ['a plain space', 'set with a no-break space', 'pass\u00A0word 123', 'pass word 123'],
  ])('is typed with %s where it was %s', async (_, __, set, typed) => {
    const { username } = await makeUser()
    expect((await register(`${username}-2`, set)).status).toBe(201)
    for (const password of [set, typed]) {
      expect((await signIn({ username: `${username}-2` }, password)).status).toBe(201)
    }
  })

  it('keeps its case and its width', async () => {
    const { username } = await makeUser()
    await register(`${username}-2`, 'pass word 123')
    for (const password of ['Pass word 123', 'ｐａｓｓ word 123', ' pass word 123']) {
      expect((await signIn({ username: `${username}-2` }, password)).status).toBe(401)
    }
  })

  it('that an older version hashed as given still opens, and is hashed anew then', async () => {
    const user = await makeUser()
    await hashAsGiven(user, DECOMPOSED)
    const before = await hashOf(user)
    expect((await signIn(user, COMPOSED)).status).toBe(401)
    expect((await signIn(user, DECOMPOSED)).status).toBe(201)
    expect(await hashOf(user)).not.toBe(before)
    expect((await signIn(user, COMPOSED)).status).toBe(201)
    expect((await signIn(user, DECOMPOSED)).status).toBe(201)
  })

  it('that an older version hashed as given is taken as the current one', async () => {
    const user = await makeUser()
    await hashAsGiven(user, DECOMPOSED)
    const body = { current_password: DECOMPOSED, password: COMPOSED }
    const changed = await call('PATCH', '/v1/me', { token: user.token, body, env: cheapHashing })
    expect(changed.status).toBe(200)
    expect((await signIn(user, COMPOSED)).status).toBe(201)
  })

  it.each([
    ['a control character', 'password\u0007 123'],
    ['a line break', 'password\n 123'],
    ['half a surrogate pair', 'password\uD800 123'],
    ['7 characters once it is composed', 'e\u0301'.repeat(7)],
  ])('is not set with %s', async (_, password) => {
    const { username } = await makeUser()
    const refused = await register(`${username}-2`, password)
    expectProblem(refused, 400, 'invalid_request', ['/password'])
  })

  it('is set with emoji and every script', async () => {
    const { username } = await makeUser()
    const created = await register(`${username}-2`, '👩‍🚒 пароль 密码')
    expect(created.status).toBe(201)
    expect(pick(created.body, 'username')).toBe(`${username}-2`)
  })
})

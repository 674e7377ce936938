import { describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, PASSWORD, setCheapPassword } from '../support/fixtures.ts'
import { countRows } from '../support/rows.ts'
import { cheapHashing, signIn } from '../support/sign-in.ts'

/** Each is refused to the user `margaret`. */
const REFUSED = [
  ['many people use', 'Password123', 'must not be one that many people use'],
  ['contains the username', 'it is MARGARET!', 'must not contain the username'],
] as const

describe.each(REFUSED)('a password that %s', (_, password, detail) => {
  it('is refused at registration', async () => {
    const body = { username: 'margaret', password }
    const answer = await call('POST', '/v1/users', { body })
    expectProblem(answer, 400, 'invalid_request', ['/password'])
    expect(answer.body).toMatchObject({ errors: [{ detail }] })
    expect(await countRows('users', "username = 'margaret'")).toBe(0)
  })

  it('is refused at registration on the classic surface', async () => {
    const body = { username: 'margaret', password }
    const answer = await call('POST', '/register', { body })
    expect(answer.status).toBe(400)
    expect(answer.body).toEqual({ message: `password: ${detail}` })
    expect(await countRows('users', "username = 'margaret'")).toBe(0)
  })

  it('is refused as a new password, before the current one is tried', async () => {
    const { token, username } = await makeUser()
    const body = { current_password: 'wrong', password: password.replace('MARGARET', username) }
    const answer = await call('PATCH', '/v1/me', { token, body })
    expectProblem(answer, 400, 'invalid_request', ['/password'])
    expect(answer.body).toMatchObject({ errors: [{ detail }] })
  })

  it('still opens an account that has it', async () => {
    const user = await makeUser()
    const old = password.replace('MARGARET', user.username)
    await setCheapPassword(user, old)
    expect((await signIn(user, old)).status).toBe(201)
  })
})

describe('a new password', () => {
  it('may contain the username of another', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const body = { current_password: PASSWORD, password: 'it is MARGARET!' }
    const changed = await call('PATCH', '/v1/me', { token: user.token, body, env: cheapHashing })
    expect(changed.status).toBe(200)
  })

  it('has its faults named together with those of the username', async () => {
    const body = { username: 'x', password: 'password1' }
    const answer = await call('POST', '/v1/users', { body })
    expectProblem(answer, 400, 'invalid_request', ['/username', '/password'])
  })
})

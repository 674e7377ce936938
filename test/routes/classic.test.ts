import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { expectExactly, MESSAGE, postClassic } from '../support/classic.ts'
import { type Answer, call, pick } from '../support/client.ts'
import { countStatuses } from '../support/expectations.ts'
import { makeDevice, makeUser, PASSWORD, type TestUser } from '../support/fixtures.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { makeCheapUser } from '../support/sign-in.ts'

const INVALID_CREDENTIALS = {
  description: 'Invalid credentials',
  error: 'Bad Request',
  status_code: 401,
}

function freshName(): string {
  return newId('user').replace('_', '-')
}

async function add(user: TestUser, scheme: string, body: unknown): Promise<Answer> {
  const headers = { Authorization: `${scheme} ${user.token}` }
  return await postClassic('/user/add-device', body, { headers })
}

describe('POST /register', () => {
  it('201, and the account signs in at both surfaces', async () => {
    const body = { username: freshName(), password: PASSWORD }
    expectExactly(await postClassic('/register', body), 201, {
      message: 'User created successfully.',
    })
    expect((await postClassic('/auth', body)).status).toBe(200)
    expect((await postClassic('/v1/sessions', body)).status).toBe(201)
  })

  it('400 with a message if the username is taken', async () => {
    const body = { username: freshName(), password: PASSWORD }
    await postClassic('/register', body)
    expectExactly(await postClassic('/register', body), 400, MESSAGE)
    const shouted = { ...body, username: body.username.toUpperCase() }
    expectExactly(await postClassic('/register', shouted), 400, MESSAGE)
  })

  it('of 20 at once for one username, one wins', async () => {
    const body = { username: freshName(), password: PASSWORD }
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => await postClassic('/register', body)),
    )
    expect(countStatuses(answers)).toEqual({ 201: 1, 400: 19 })
    expect(await countRows('users', 'username = ?', body.username)).toBe(1)
  })

  it('ignores fields that it does not know', async () => {
    const body = { username: freshName(), password: PASSWORD, email: 'a@b', role: 'admin' }
    expect((await postClassic('/register', body)).status).toBe(201)
    expect(await countRows('users', "username = ? and role = 'user'", body.username)).toBe(1)
  })

  it.each([
    [{}, 'password'],
    [{ username: 'somebody' }, 'password'],
    [{ password: PASSWORD }, 'username'],
    [{ username: 'somebody', password: 'short' }, 'password'],
    [{ username: 1, password: PASSWORD }, 'username'],
    [[], ''],
  ])('400 with a message that names the field: %j', async (body, field) => {
    const answer = await postClassic('/register', body)
    expectExactly(answer, 400, { message: expect.stringContaining(field) })
  })

  it('403 with a message when registration is closed', async () => {
    const body = { username: freshName(), password: PASSWORD }
    const closed = { ...env, REGISTRATION: 'closed' }
    expectExactly(await postClassic('/register', body, { env: closed }), 403, MESSAGE)
  })
})

describe('POST /auth', () => {
  it('200 with an access token of a session', async () => {
    const user = await makeCheapUser()
    const answer = await postClassic('/auth', { username: user.username, password: PASSWORD })
    expectExactly(answer, 200, { access_token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) })
    const token = pick(answer.body, 'access_token')
    expect((await call('GET', '/v1/me', { token })).body).toMatchObject({ id: user.id })
    expect(await countRows('sessions', 'user_id = ?', user.id)).toBe(2)
  })

  it('200, and the session ends with its token: nobody was given a refresh token', async () => {
    const user = await makeUser()
    const body = { username: user.username, password: PASSWORD }
    expect((await call('POST', '/auth', { body })).status).toBe(200)
    const [session] = await rowsOf(
      'select expires_at - created_at as lifetime from sessions where user_id = ? and id <> ?',
      user.id,
      user.sessionId,
    )
    expect(session).toEqual({ lifetime: 900_000 })
  })

  it('401 with the very body for a wrong password, nobody, and a disabled user', async () => {
    const user = await makeCheapUser()
    const { username } = user
    const bad = [
      { username, password: 'wrong' },
      { username: 'nobody-at-all', password: 'wrong' },
    ]
    for (const body of bad) {
      const answer = await postClassic('/auth', body)
      expectExactly(answer, 401, INVALID_CREDENTIALS)
    }
    await execute('update users set disabled_at = 1 where id = ?', user.id)
    expectExactly(
      await postClassic('/auth', { username, password: PASSWORD }),
      401,
      INVALID_CREDENTIALS,
    )
  })

  it.each([
    {},
    [],
    null,
    0,
    'text',
    { username: 'a' },
    { password: 'a' },
    { username: null, password: null },
    { username: ['a'], password: 'a' },
    { username: 'a', password: 'x'.repeat(2000) },
  ])('401 with the very body for %j', async (body) => {
    expectExactly(await postClassic('/auth', body), 401, INVALID_CREDENTIALS)
  })

  it.each(['{', '', 'username=a&password=b', '{"username":"a",}'])(
    '400 with a message for what is no JSON: %j',
    async (raw) => {
      const headers = { 'Content-Type': 'application/json' }
      expectExactly(await call('POST', '/auth', { raw, headers }), 400, MESSAGE)
    },
  )
})

describe('POST /user/add-device', () => {
  it.each(['JWT', 'Bearer', 'jwt'])('201 with the key, and the token as %s', async (scheme) => {
    const user = await makeUser()
    const answer = await add(user, scheme, { device_name: 'Boiler' })
    expectExactly(answer, 201, { api_key: expect.stringMatching(/^lk_[0-9A-Za-z]{40}$/) })
    const checkedIn = await postClassic('/device/check-in', {
      api_key: pick(answer.body, 'api_key'),
    })
    expectExactly(checkedIn, 200, { ...MESSAGE, device_name: 'Boiler' })
  })

  it('400 with the very message for a name that exists, and only for the own', async () => {
    const user = await makeUser()
    const name = "it's <b>"
    expect((await add(user, 'JWT', { device_name: name })).status).toBe(201)
    const message = `A device with name '${name}' already exists.`
    expectExactly(await add(user, 'JWT', { device_name: name }), 400, { message })
    expect((await add(await makeUser(), 'JWT', { device_name: name })).status).toBe(201)
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
  })

  it('of 50 at once for one name, one wins', async () => {
    const user = await makeUser()
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => await add(user, 'JWT', { device_name: 'one' })),
    )
    expect(countStatuses(answers)).toEqual({ 201: 1, 400: 49 })
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
  })

  it.each([{}, [], null, { name: 'x' }, { device_name: '' }, { device_name: 7 }])(
    '400 with a message for %j',
    async (body) => {
      expectExactly(await add(await makeUser(), 'JWT', body), 400, MESSAGE)
    },
  )

  it('401 with a message without a good token', async () => {
    const user = await makeUser()
    const { secret } = await makeDevice(user)
    const headers = [
      {},
      { Authorization: `Basic ${user.token}` },
      { Authorization: `JWT ${secret}` },
    ]
    for (const header of headers) {
      const answer = await postClassic(
        '/user/add-device',
        { device_name: 'x' },
        { headers: header },
      )
      expectExactly(answer, 401, MESSAGE)
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm="latchkey"/)
    }
  })
})

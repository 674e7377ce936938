import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { call, pick } from '../support/client.ts'
import { anId, countStatuses, expectProblem, TIME } from '../support/expectations.ts'
import { makeUser, PASSWORD, setCheapPassword } from '../support/fixtures.ts'
import { auditOf, countRows, rowsOf } from '../support/rows.ts'

/** Hashes in a tenth of the time. */
const cheap = { ...env, PASSWORD_HASH: 'pbkdf2' }

function freshName(): string {
  return newId('user').replace('_', '-')
}

async function register(username: string, password = PASSWORD) {
  return await call('POST', '/v1/users', { body: { username, password }, env: cheap })
}

describe('POST /v1/users', () => {
  it('makes a user and says so without any secret', async () => {
    const username = freshName()
    const answer = await call('POST', '/v1/users', { body: { username, password: PASSWORD } })
    expect(answer.status).toBe(201)
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual({ id: anId('user'), username, role: 'user', created_at: TIME })

    const id = pick(answer.body, 'id')
    const [row] = await rowsOf('select password_hash from users where id = ?', id)
    expect(row?.['password_hash']).toMatch(/^\$scrypt\$ln=14,r=8,p=5\$[\w+/]{22}\$[\w+/]{43}$/)
    expect(await auditOf(id)).toEqual([
      {
        action: 'user.created',
        actorId: id,
        deviceId: null,
        keyId: null,
        before: null,
        after: { username, role: 'user' },
      },
    ])
  })

  it('cannot be asked for a role', async () => {
    const body = { username: freshName(), password: PASSWORD, role: 'admin' }
    const answer = await call('POST', '/v1/users', { body })
    expectProblem(answer, 400, 'invalid_request', ['/role'])
  })

  it.each([
    ['the same', (name: string) => name],
    ['upper case', (name: string) => name.toUpperCase()],
    ['full width', (name: string) => name.replace(/^./, 'ｕ')],
  ])('409 for a username that is taken: %s', async (_label, variant) => {
    const username = freshName()
    expect((await register(username)).status).toBe(201)
    expectProblem(await register(variant(username)), 409, 'username_taken')
    expect(await countRows('users', 'lower(username) = ?', username)).toBe(1)
  })

  it('takes composed and decomposed letters for one username', async () => {
    const tail = freshName()
    const first = await register(`\u00e9${tail}`)
    expect(first.body).toMatchObject({ username: `\u00e9${tail}` })
    expectProblem(await register(`e\u0301${tail}`), 409, 'username_taken')
  })

  it('403 when registration is closed, and hashes nothing', async () => {
    const closed = { ...env, REGISTRATION: 'closed' }
    const username = freshName()
    const answer = await call('POST', '/v1/users', {
      body: { username, password: PASSWORD },
      env: closed,
    })
    expectProblem(answer, 403, 'registration_closed')
    expect(await countRows('users', 'username = ?', username)).toBe(0)
  })

  it.each([
    [{}, ['/username', '/password']],
    [{ username: 'abc' }, ['/password']],
    [{ username: 'ab', password: PASSWORD }, ['/username']],
    [{ username: 'a'.repeat(65), password: PASSWORD }, ['/username']],
    [{ username: 'with space', password: PASSWORD }, ['/username']],
    [{ username: 'nul\u0000nul', password: PASSWORD }, ['/username']],
    [{ username: 'bidi\u202e', password: PASSWORD }, ['/username']],
    [{ username: 'lone\ud800', password: PASSWORD }, ['/username']],
    [{ username: 7, password: PASSWORD }, ['/username']],
    [{ username: 'abc', password: '1234567' }, ['/password']],
    [{ username: 'abc', password: 'x'.repeat(129) }, ['/password']],
    [{ username: 'abc', password: null }, ['/password']],
    [{ username: 'abc', password: PASSWORD, e_mail: 'a@b', 'a/b~c': 1 }, ['/e_mail', '/a~1b~0c']],
    [['abc', PASSWORD], ['']],
  ])('400 for %j', async (body, pointers) => {
    expectProblem(await call('POST', '/v1/users', { body }), 400, 'invalid_request', pointers)
  })

  it.each(['zq7 fp2x', '🔑'.repeat(128), ' spaces are kept '])(
    'takes the password %s and no other form of it',
    async (password) => {
      const username = freshName()
      expect((await register(username, password)).status).toBe(201)
      const signIn = async (password: string) =>
        (await call('POST', '/v1/sessions', { body: { username, password } })).status
      expect(await signIn(password)).toBe(201)
      expect(await signIn(`${password} `)).toBe(401)
      expect(await signIn(password.trim().slice(1))).toBe(401)
    },
  )

  it('of 50 at once for one username, one wins', async () => {
    const username = freshName()
    const variants = Array.from({ length: 50 }, (_, n) =>
      n % 2 === 0 ? username : username.toUpperCase(),
    )
    const answers = await Promise.all(variants.map(async (name) => await register(name)))
    expect(countStatuses(answers)).toEqual({ 201: 1, 409: 49 })
    expect(await countRows('users', 'username_key = ?', username)).toBe(1)
    const id = pick(answers.find(({ status }) => status === 201)?.body, 'id')
    expect(await auditOf(id)).toHaveLength(1)
    expect(
      await countRows('audit_events', "json_extract(after, '$.username') like ?", username),
    ).toBe(1)
  })
})

describe('GET /v1/me', () => {
  it('says who is signed in', async () => {
    const user = await makeUser('admin')
    const answer = await call('GET', '/v1/me', { token: user.token })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const { id, username } = user
    expect(answer.body).toEqual({ id, username, role: 'admin', created_at: TIME })
  })
})

describe('PATCH /v1/me', () => {
  const next = 'another horse entirely'

  it('sets a new password, ends the other sessions and keeps this one', async () => {
    const user = await makeUser()
    const bystander = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const signIn = async (password: string) =>
      await call('POST', '/v1/sessions', { body: { username: user.username, password } })
    const second = await signIn(PASSWORD)
    expect(second.status).toBe(201)

    const body = { current_password: PASSWORD, password: next }
    const changed = await call('PATCH', '/v1/me', { token: user.token, body })
    expect(changed.status).toBe(200)
    const { id, username } = user
    expect(changed.body).toEqual({ id, username, role: 'user', created_at: TIME })

    expect((await call('GET', '/v1/me', { token: user.token })).status).toBe(200)
    expect((await call('GET', '/v1/me', { token: bystander.token })).status).toBe(200)
    const other = { token: pick(second.body, 'access_token') }
    expectProblem(await call('GET', '/v1/me', other), 401, 'revoked')
    const refresh = { refresh_token: pick(second.body, 'refresh_token') }
    const refreshed = await call('POST', '/v1/sessions/refresh', { body: refresh })
    expectProblem(refreshed, 401, 'revoked')
    expectProblem(await signIn(PASSWORD), 401, 'invalid_credentials')
    expect((await signIn(next)).status).toBe(201)
    const actions = (await auditOf(user.id)).map(({ action }) => action)
    expect(actions).toEqual(['session.created', 'user.password_changed', 'session.created'])
  })

  it('403 for a wrong current password, and nothing changes', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const other = await call('POST', '/v1/sessions', {
      body: { username: user.username, password: PASSWORD },
    })
    const before = await rowsOf('select * from users where id = ?', user.id)
    const body = { current_password: `${PASSWORD}!`, password: next }
    const answer = await call('PATCH', '/v1/me', { token: user.token, body })
    expectProblem(answer, 403, 'wrong_password')
    expect(await rowsOf('select * from users where id = ?', user.id)).toEqual(before)
    const token = pick(other.body, 'access_token')
    expect((await call('GET', '/v1/me', { token })).status).toBe(200)
    expect((await auditOf(user.id)).map(({ action }) => action)).toEqual(['session.created'])
  })

  it.each([
    [{}, ['/current_password', '/password']],
    [{ password: next }, ['/current_password']],
    [{ current_password: PASSWORD, password: 'short' }, ['/password']],
    [{ current_password: PASSWORD, password: next, username: 'x' }, ['/username']],
  ])('400 for %j', async (body, pointers) => {
    const { token } = await makeUser()
    const answer = await call('PATCH', '/v1/me', { token, body })
    expectProblem(answer, 400, 'invalid_request', pointers)
  })

  it('of 5 at once from one password, one wins', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const answers = await Promise.all(
      [1, 2, 3, 4, 5].map(async (n) => {
        const body = { current_password: PASSWORD, password: `new password ${n}` }
        return await call('PATCH', '/v1/me', { token: user.token, body, env: cheap })
      }),
    )
    expect(countStatuses(answers)).toEqual({ 200: 1, 403: 4 })
    const actions = (await auditOf(user.id)).map(({ action }) => action)
    expect(actions).toEqual(['user.password_changed'])
  })
})

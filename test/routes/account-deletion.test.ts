import { describe, expect, it } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { call, pick } from '../support/client.ts'
import { withRace } from '../support/databases.ts'
import { expectProblem } from '../support/expectations.ts'
import {
  makeDevice,
  makeUser,
  PASSWORD,
  setCheapPassword,
  type TestUser,
} from '../support/fixtures.ts'
import { auditOf, countRows, dumpDatabase, execute, rowsOf } from '../support/rows.ts'

/** Devices of the user's, each with a key and a secret that nobody holds. */
async function makeDevicesInDatabase(user: TestUser, count: number): Promise<void> {
  const numbers = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < ?2)'
  for (const into of [
    `devices (id, user_id, name, metadata, created_at, updated_at)
       select ?1 || '-' || i, ?1, 'device ' || i, '{}', 1, 1 from n`,
    `api_keys (id, device_id, name, scopes, created_at, updated_at)
       select ?1 || '-' || i, ?1 || '-' || i, 'key', '[]', 1, 1 from n`,
    `key_secrets (hash, key_id, hint, created_at)
       select 'hash of ' || ?1 || '-' || i, ?1 || '-' || i, 'lk_…', 1 from n`,
  ]) {
    await execute(`${numbers} insert into ${into}`, user.id, count)
  }
}

describe('DELETE /v1/me', () => {
  it('403 for a wrong password, and nothing changes', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    await makeDevice(user)
    const before = await dumpDatabase()
    const body = { current_password: 'not the password' }
    const answer = await call('DELETE', '/v1/me', { token: user.token, body })
    expectProblem(answer, 403, 'wrong_password')
    expect(await dumpDatabase()).toBe(before)
  })

  it('400 without a password', async () => {
    const { token } = await makeUser()
    const missing = await call('DELETE', '/v1/me', { token, body: {} })
    expectProblem(missing, 400, 'invalid_request', ['/current_password'])
    const bodiless = await call('DELETE', '/v1/me', { token })
    expectProblem(bodiless, 400, 'invalid_request', ['/current_password'])
  })

  it('removes the account and all that it owns, and nobody else', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const devices = [await makeDevice(user), await makeDevice(user)]
    const bystander = await makeUser()
    const theirs = await makeDevice(bystander, 'untouched')
    const signedIn = await call('POST', '/v1/sessions', {
      body: { username: user.username, password: PASSWORD },
    })
    const others = await rowsOf('select * from devices where user_id = ?', bystander.id)

    const answer = await call('DELETE', '/v1/me', {
      token: user.token,
      body: { current_password: PASSWORD },
    })
    expect(answer.status).toBe(204)
    expect(answer.text).toBe('')

    expect(await countRows('users', 'id = ?', user.id)).toBe(0)
    expect(await countRows('sessions', 'user_id = ?', user.id)).toBe(0)
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
    for (const { id, keyId, secret } of devices) {
      expect(await countRows('api_keys', 'device_id = ?', id)).toBe(0)
      const hash = await sha256(secret)
      const [tombstone] = await rowsOf('select * from key_secrets where hash = ?', hash)
      expect(tombstone).toMatchObject({ key_id: null, tombstone_user_id: user.id })
      expect(tombstone?.['revoked_at']).toEqual(expect.any(Number))
      expect(await countRows('key_secrets', 'key_id = ?', keyId)).toBe(0)
      expect(await countRows('purges', 'device_id = ?', id)).toBe(1)
      expectProblem(await call('GET', '/v1/device', { token: secret }), 401, 'revoked')
    }
    const audit = await auditOf(user.id)
    expect(audit.map(({ action }) => action)).toEqual([
      'device.created',
      'device.created',
      'session.created',
      'user.deleted',
    ])
    expect(audit.at(-1)).toMatchObject({
      actorId: user.id,
      before: { username: user.username },
      after: null,
    })

    expectProblem(await call('GET', '/v1/me', { token: user.token }), 401, 'revoked')
    const body = { refresh_token: pick(signedIn.body, 'refresh_token') }
    const refreshed = await call('POST', '/v1/sessions/refresh', { body })
    expectProblem(refreshed, 401, 'revoked')
    const again = { username: user.username, password: PASSWORD }
    const signIn = await call('POST', '/v1/sessions', { body: again })
    expectProblem(signIn, 401, 'invalid_credentials')

    expect(await rowsOf('select * from devices where user_id = ?', bystander.id)).toEqual(others)
    expect((await call('GET', '/v1/me', { token: bystander.token })).status).toBe(200)
    expect((await call('GET', '/v1/device', { token: theirs.secret })).status).toBe(200)
  })

  it('removes an account of 2,000 devices, each with a key, in its one transaction', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const bystander = await makeDevice(await makeUser())
    await makeDevicesInDatabase(user, 2000)
    expect(await rowsOf('select device_count as n from users where id = ?', user.id)).toEqual([
      { n: 2000 },
    ])

    const answer = await call('DELETE', '/v1/me', {
      token: user.token,
      body: { current_password: PASSWORD },
    })
    expect(answer.status).toBe(204)
    expect(await countRows('users', 'id = ?', user.id)).toBe(0)
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
    expect(await countRows('api_keys', "id like ? || '-%'", user.id)).toBe(0)
    const tombstones = 'tombstone_user_id = ? and key_id is null and revoked_at is not null'
    expect(await countRows('key_secrets', tombstones, user.id)).toBe(2000)
    expect(await countRows('purges', 'user_id = ?', user.id)).toBe(2000)
    expect(await countRows('revocations', 'owner_id = ?', user.id)).toBe(1)
    expect((await call('GET', '/v1/device', { token: bystander.secret })).status).toBe(200)
  })

  it('frees the username for a new account, which inherits nothing', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    await makeDevice(user)
    const { token, username } = user
    await call('DELETE', '/v1/me', { token, body: { current_password: PASSWORD } })
    const body = { username, password: PASSWORD }
    const registered = await call('POST', '/v1/users', { body })
    expect(registered.status).toBe(201)
    expect(pick(registered.body, 'id')).not.toBe(user.id)
    const signedIn = await call('POST', '/v1/sessions', { body })
    const list = await call('GET', '/v1/devices', { token: pick(signedIn.body, 'access_token') })
    expect(list.body).toEqual({ items: [], next_cursor: null })
  })

  it('an account is not deleted if the password was changed while it was checked', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const { secret } = await makeDevice(user)
    const answer = await call('DELETE', '/v1/me', {
      token: user.token,
      body: { current_password: PASSWORD },
      env: withRace(async () => await setCheapPassword(user, 'another password')),
    })
    expect(answer.status).toBe(403)
    expect((await call('GET', '/v1/me', { token: user.token })).status).toBe(200)
    expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
    expect((await auditOf(user.id)).map(({ action }) => action)).toEqual(['device.created'])
  })

  it('of 5 at once, one deletes and none fails', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const answers = await Promise.all(
      [1, 2, 3, 4, 5].map(
        async () =>
          await call('DELETE', '/v1/me', {
            token: user.token,
            body: { current_password: PASSWORD },
          }),
      ),
    )
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1)
    for (const { status } of answers) expect([204, 401, 403]).toContain(status)
    const actions = (await auditOf(user.id)).map(({ action }) => action)
    expect(actions).toEqual(['user.deleted'])
  })
})

describe('an account deleted while another request of its user runs', () => {
  it('makes a device nowhere, and that is no failure', async () => {
    const user = await makeUser()
    const racing = withRace(async () => {
      await execute('delete from sessions where user_id = ?', user.id)
      await execute('delete from users where id = ?', user.id)
    })
    const answer = await call('POST', '/v1/devices', {
      token: user.token,
      body: { name: 'too late' },
      env: racing,
    })
    expectProblem(answer, 401, 'revoked')
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
  })
})

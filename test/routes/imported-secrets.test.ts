import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { call } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { fakeLimiter } from '../support/environments.ts'
import { makeDevice, makeUser, type TestDevice } from '../support/fixtures.ts'
import { setClock } from '../support/limits.ts'
import { execute } from '../support/rows.ts'
import { sha256 } from '../../src/crypto/digest.ts'

const imported = 'an-imported-secret-of-another-system'

/** What an import leaves: a secret of another system's making, marked, on a device's key. */
async function importSecret(secret: string, mark = 1): Promise<TestDevice> {
  const device = await makeDevice(await makeUser())
  await execute(
    'insert into key_secrets (hash, key_id, hint, imported, created_at) values (?, ?, ?, ?, 1)',
    await sha256(secret),
    device.keyId,
    'an-imp…',
    mark,
  )
  return device
}

afterEach(() => {
  vi.useRealTimers()
})

describe('secrets without a check', () => {
  it('are looked up only while ACCEPT_IMPORTED_KEYS is on', async () => {
    const device = await importSecret(imported)
    const counted = countStatements(env.DB)
    const off = await call('GET', '/v1/device', {
      token: imported,
      env: { ...env, DB: counted.database },
    })
    expect(off.status).toBe(401)
    expect(counted.statements).toHaveLength(0)

    const on = { ...env, ACCEPT_IMPORTED_KEYS: 'true' }
    const answer = await call('GET', '/v1/device', { token: imported, env: on })
    expect(answer).toMatchObject({ status: 200, body: { key: { id: device.keyId } } })
  })

  it('are limited per network where D1 does not know them, and what is known still passes', async () => {
    const secret = `${imported}-2`
    await importSecret(secret)
    const counted = countStatements(env.DB)
    const limited = {
      ...env,
      DB: counted.database,
      ACCEPT_IMPORTED_KEYS: 'true',
      UNKNOWN_SECRET_LIMITER: fakeLimiter(2),
    }
    const headers = { 'CF-Connecting-IP': '2001:db8:1:2::1' }
    const neighbour = { 'CF-Connecting-IP': '2001:db8:1:2:ffff::9' }
    const statusOf = async (token: string, from: Record<string, string>) =>
      (await call('GET', '/v1/device', { token, headers: from, env: limited })).status
    expect(await statusOf(secret, headers)).toBe(200)
    expect(await statusOf('unknown-string-number-1', headers)).toBe(401)
    expect(await statusOf('unknown-string-number-2', neighbour)).toBe(401)
    expect(await statusOf('unknown-string-number-3', headers)).toBe(401)
    const asked = counted.statements.length
    const refused = await call('GET', '/v1/device', {
      token: 'unknown-string-number-4',
      headers: neighbour,
      env: limited,
    })
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate_limited' } })
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(counted.statements).toHaveLength(asked)
    expect(await statusOf(secret, headers)).toBe(200)
    expect(
      await statusOf('unknown-string-number-5', { 'CF-Connecting-IP': '2001:db8:1:3::1' }),
    ).toBe(401)
  })

  it('a network that presented too many unknown secrets is blocked for a minute', async () => {
    const start = Date.now()
    const { database, statements } = countStatements(env.DB)
    const limited = {
      ...env,
      DB: database,
      ACCEPT_IMPORTED_KEYS: 'true',
      UNKNOWN_SECRET_LIMITER: fakeLimiter(0),
    }
    const statusAfter = async (ms: number) => {
      setClock(start + ms)
      const headers = { 'CF-Connecting-IP': '2001:db8:1:4::1' }
      const token = `unknown-string-of-${ms}`
      return (await call('GET', '/v1/device', { token, headers, env: limited })).status
    }
    expect(await statusAfter(0)).toBe(401)
    expect(await statusAfter(1)).toBe(429)
    expect(await statusAfter(59_999)).toBe(429)
    expect(statements).toHaveLength(1)
    expect(await statusAfter(60_000)).toBe(401)
    expect(statements).toHaveLength(2)
  })

  it('are those that are marked: one of ours, of a former prefix, is none', async () => {
    const secret = `old_${'a'.repeat(40)}`
    await importSecret(secret, 0)
    const on = { ...env, ACCEPT_IMPORTED_KEYS: 'true' }
    expect(await call('GET', '/v1/device', { token: secret, env: on })).toMatchObject({
      status: 401,
      body: { code: 'invalid_credential' },
    })
  })

  it('include ours with KEY_CHECK=off, when the check secret is lost', async () => {
    const device = await makeDevice(await makeUser())
    const lost = JSON.stringify([{ id: 'new', key: Buffer.alloc(32, 7).toString('base64url') }])
    const settings = { ...env, KEY_CHECK_SECRETS: lost }
    const refused = await call('GET', '/v1/device', { token: device.secret, env: settings })
    expect(refused.status).toBe(401)
    const accepted = await call('GET', '/v1/device', {
      token: device.secret,
      env: { ...settings, KEY_CHECK: 'off' },
    })
    expect(accepted.status).toBe(200)
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { makeSecret } from '../../src/crypto/secrets.ts'
import { KeyCache } from '../../src/edge/key-cache.ts'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { fakeLimiter, withFailingDatabase } from '../support/environments.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { execute } from '../support/rows.ts'

const KEY_CACHE_MS = 10_000
const KEY_STALE_MS = 300_000

const broken = withFailingDatabase().DB

/** A database that never answers. */
const hung = new Proxy(env.DB, {
  get: (_, property) => (property === 'prepare' ? () => hungStatement : undefined),
})
const hungStatement: unknown = new Proxy(
  {},
  {
    get: (_, property) =>
      property === 'bind' ? () => hungStatement : () => new Promise(() => undefined),
  },
)

async function makeWarmIsolate() {
  const device = await makeDevice(await makeUser())
  const isolate = makeIsolate(Date.now())
  expect(await isolate.codeOf(device.secret)).toBe('valid')
  return { device, isolate }
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('the cost of a verify', () => {
  it('is one read cold, none warm, and never a write', async () => {
    const { device, isolate } = await makeWarmIsolate()
    for (let request = 0; request < 100; request += 1) {
      expect(await isolate.codeOf(device.secret)).toBe('valid')
    }
    expect(isolate.statements).toEqual([expect.stringMatching(/^select/i)])
  })

  it('is none for what is forged, in any way', async () => {
    const { device, isolate } = await makeWarmIsolate()
    const before = isolate.statements.length
    const swap = device.secret.at(-1) === 'a' ? 'b' : 'a'
    const forgeries = [
      `${device.secret.slice(0, -1)}${swap}`,
      device.secret.toUpperCase(),
      `${device.secret}0`,
      `other_${device.secret.slice(3)}`,
      'a-secret-of-another-system',
      '',
    ]
    for (const forgery of forgeries) expect(await isolate.codeOf(forgery)).toBe('not_found')
    expect(isolate.statements).toHaveLength(before)
    expect(isolate.cache.size).toBe(1)
  })

  it('lets nothing in that D1 does not know', async () => {
    const { keyPrefix, checkSecrets } = loadSettings(env)
    const { secret } = await makeSecret(keyPrefix, checkSecrets)
    const isolate = makeIsolate(Date.now())
    expect(await isolate.codeOf(secret)).toBe('not_found')
    expect(isolate.statements).toHaveLength(1)
    expect(isolate.cache.size).toBe(0)
  })

  it('is refreshed ahead after half the time, once, without anybody waiting', async () => {
    const { device, isolate } = await makeWarmIsolate()
    isolate.now += KEY_CACHE_MS / 2 - 1
    await isolate.codeOf(device.secret)
    expect(isolate.statements).toHaveLength(1)

    isolate.now += 1
    await Promise.all(Array.from({ length: 20 }, () => isolate.codeOf(device.secret)))
    const hash = await sha256(device.secret)
    await vi.waitFor(() => expect(isolate.cache.get(hash)?.readAt).toBe(isolate.now))
    expect(isolate.statements).toHaveLength(2)
    // The age counts anew: nearly another whole time passes, and nobody waits for a D1 that hangs.
    isolate.database = hung
    isolate.now += KEY_CACHE_MS - 1
    expect(await isolate.codeOf(device.secret)).toBe('valid')
  })

  it('is bounded in memory: the least recently used goes first', () => {
    const cache = new KeyCache(2)
    const snapshot = {
      secret: { expiresAt: null, revokedAt: null, isRetiredUseNoted: false },
      ownerId: 'user_x',
      policy: null,
    }
    cache.keep('a', snapshot, 1, cache.epoch)
    cache.keep('b', snapshot, 1, cache.epoch)
    cache.get('a')
    cache.keep('c', snapshot, 1, cache.epoch)
    expect(cache.size).toBe(2)
    expect(cache.get('b')).toBeUndefined()
    expect(cache.get('a')).toBeDefined()
  })
})

describe('an outage of D1', () => {
  it('serves what is young enough, then 503, and is over by itself', async () => {
    const { device, isolate } = await makeWarmIsolate()
    const healthy = isolate.database
    isolate.database = broken
    const start = isolate.now
    for (const age of [KEY_CACHE_MS, KEY_CACHE_MS + 500, KEY_STALE_MS - 1]) {
      isolate.now = start + age
      expect(await isolate.codeOf(device.secret)).toBe('valid')
    }
    isolate.now = start + KEY_STALE_MS
    await expect(isolate.codeOf(device.secret)).rejects.toThrow('could not be read')

    isolate.database = healthy
    expect(await isolate.codeOf(device.secret)).toBe('valid')
  })

  it('is noticed too when D1 only hangs', async () => {
    const settings = { ...loadSettings(env), d1TimeoutMs: 50 }
    const device = await makeDevice(await makeUser())
    const isolate = makeIsolate(Date.now(), settings)
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    isolate.database = hung
    isolate.now += KEY_CACHE_MS
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    await expect(isolate.codeOf(device.secret, { fresh: true })).rejects.toThrow(
      'could not be read',
    )
  })

  it('leaves a key revoked that was seen revoked', async () => {
    const { device, isolate } = await makeWarmIsolate()
    await execute('update api_keys set revoked_at = 1 where id = ?', device.keyId)
    expect(await isolate.codeOf(device.secret, { fresh: true })).toBe('revoked')
    isolate.database = broken
    isolate.now += KEY_CACHE_MS
    expect(await isolate.codeOf(device.secret)).toBe('revoked')
  })

  it('is a 503 with Retry-After at the door, never a 401', async () => {
    const device = await makeDevice(await makeUser())
    const answer = await call('GET', '/v1/device', {
      token: device.secret,
      env: withFailingDatabase(),
    })
    expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } })
    expect(answer.headers.get('retry-after')).toBe('5')
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
  })
})

describe('secrets without a check', () => {
  const imported = 'an-imported-secret-of-another-system'

  async function importSecret(secret: string) {
    const device = await makeDevice(await makeUser())
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(secret))
    await execute(
      `insert into key_secrets (hash, key_id, hint, imported, created_at) values (?, ?, ?, 1, 1)`,
      Buffer.from(digest).toString('base64url'),
      device.keyId,
      'an-imp…',
    )
    return device
  }

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
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate-limited' } })
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(counted.statements).toHaveLength(asked)
    expect(await statusOf(secret, headers)).toBe(200)
    expect(
      await statusOf('unknown-string-number-5', { 'CF-Connecting-IP': '2001:db8:1:3::1' }),
    ).toBe(401)
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

import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { makeSecret } from '../../src/crypto/secrets.ts'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { countFailures } from '../support/databases.ts'
import { endOutage, withFailingDatabase } from '../support/environments.ts'
import { makeUser, markUsed } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { countRows, execute } from '../support/rows.ts'

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

async function makeWarmIsolate(limits: WireLimits) {
  const device = await makeLimitedDevice(await makeUser(), limits)
  await markUsed(device)
  const isolate = makeIsolate(Date.now())
  expect(await isolate.codeOf(device.secret)).toBe('valid')
  return { device, isolate }
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe.each(KEY_KINDS)('the cost of a verify of %s', (_, limits) => {
  it('is one read cold, none warm, and never a write', async () => {
    const { device, isolate } = await makeWarmIsolate(limits)
    for (let request = 0; request < 100; request += 1) {
      expect(await isolate.codeOf(device.secret)).toBe('valid')
    }
    expect(isolate.statements).toEqual([expect.stringMatching(/^select/i)])
  })

  it('is none for what is forged, in any way', async () => {
    const { device, isolate } = await makeWarmIsolate(limits)
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
    const { device, isolate } = await makeWarmIsolate(limits)
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

  it('the use of a retired secret is written to D1 once, however often it is used', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const path = `/v1/devices/${device.id}/keys/${device.keyId}/rotate`
    await call('POST', path, { token: user.token, body: { overlap_seconds: 0 } })
    const isolate = makeIsolate(Date.now())
    for (let request = 0; request < 10; request += 1) {
      expect(await isolate.codeOf(device.secret)).toBe('revoked')
    }
    const noted = "key_id = ? and action = 'key.retired_secret_used'"
    await vi.waitFor(async () =>
      expect(await countRows('audit_events', noted, device.keyId)).toBe(1),
    )
    expect(isolate.statements.map((text) => text.slice(0, 6))).toEqual([
      'select',
      'insert',
      'update',
    ])
  })
})

describe.each(KEY_KINDS)('an outage of D1, for %s,', (_, limits) => {
  it('serves what is young enough, then 503, and is over by itself', async () => {
    const { device, isolate } = await makeWarmIsolate(limits)
    const healthy = isolate.database
    isolate.database = broken
    const start = isolate.now
    for (const age of [KEY_CACHE_MS, KEY_CACHE_MS + 500, KEY_STALE_MS - 1]) {
      isolate.now = start + age
      expect(await isolate.codeOf(device.secret)).toBe('valid')
    }
    isolate.now = start + KEY_STALE_MS
    await expect(isolate.codeOf(device.secret)).rejects.toThrow(/^D1 /)

    isolate.database = healthy
    isolate.now += 1100
    expect(await isolate.codeOf(device.secret)).toBe('valid')
  })

  it('a failing D1 is asked for a key once a second, however many ask', async () => {
    const { device, isolate } = await makeWarmIsolate(limits)
    const { database, statements } = countFailures()
    isolate.database = database
    isolate.now += KEY_CACHE_MS
    for (const step of [0, 1, 498, 500]) {
      isolate.now += step
      expect(await isolate.codeOf(device.secret)).toBe('valid')
    }
    expect(statements).toHaveLength(1)
    // The failure was noticed a little later than its request.
    isolate.now += 100
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    expect(statements).toHaveLength(2)
  })

  it('is noticed too when D1 only hangs', async () => {
    const settings = { ...loadSettings(env), d1TimeoutMs: 50 }
    const device = await makeLimitedDevice(await makeUser(), limits)
    const isolate = makeIsolate(Date.now(), settings)
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    isolate.database = hung
    isolate.now += KEY_CACHE_MS
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    await expect(isolate.codeOf(device.secret, { fresh: true })).rejects.toThrow(/^D1 /)
  })

  it('leaves a key revoked that was seen revoked', async () => {
    const { device, isolate } = await makeWarmIsolate(limits)
    await execute('update api_keys set revoked_at = 1 where id = ?', device.keyId)
    expect(await isolate.codeOf(device.secret, { fresh: true })).toBe('revoked')
    isolate.database = broken
    isolate.now += KEY_CACHE_MS
    expect(await isolate.codeOf(device.secret)).toBe('revoked')
  })

  it('is a 503 with Retry-After at the door, never a 401', async () => {
    const device = await makeLimitedDevice(await makeUser(), limits)
    const answer = await call('GET', '/v1/device', {
      token: device.secret,
      env: withFailingDatabase(),
    })
    expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } })
    expect(answer.headers.get('retry-after')).toBe('5')
    endOutage()
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
  })
})

import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { pruneFeed } from '../../src/services/changes/record-revocation.ts'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { countFailures } from '../support/databases.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { contextAt, type Isolate, makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { claimsOf } from '../support/tokens.ts'

const POLL_MS = 10_000
const STALE_MS = 300_000
const UNLIMITED = { rate_limit: null, quota: null }
const DAILY = { quota: { limit: 5, period: 'day' } }

let user: TestUser
let device: TestDevice
let token: string
let here: Isolate
let elsewhere: Isolate

/** The token of a device with these limits, and two isolates that have checked it. */
async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  device = await makeLimitedDevice(user, { ...limits, scopes: ['a:*'] })
  token = await fetchToken(device)
  const now = Date.now()
  here = makeIsolate(now)
  elsewhere = makeIsolate(now)
  for (const isolate of [here, elsewhere]) {
    expect(await isolate.codeOf(token, { scopes: ['a:b'] })).toBe('valid')
    expect(isolate.statements).toHaveLength(readsOf(limits))
  }
}

/** What a refresh reads: the feed, and of a limited key also how its limits are. */
function readsOf(limits: WireLimits): number {
  return 'rate_limit' in limits ? 2 : 1
}

async function onKey(method: string, suffix: string, body?: unknown): Promise<void> {
  const path = `/v1/devices/${device.id}/keys/${device.keyId}${suffix}`
  const { status } = await call(method, path, { token: user.token, body })
  expect(status).toBeLessThan(300)
}

async function onDevice(method: string, body?: unknown): Promise<void> {
  const path = `/v1/devices/${device.id}`
  const { status } = await call(method, path, { token: user.token, body })
  expect(status).toBeLessThan(300)
}

const ENDS: readonly (readonly [string, () => Promise<void>])[] = [
  ['revoking its key', () => onKey('DELETE', '')],
  ['disabling its key', () => onKey('PATCH', '', { enabled: false })],
  ['narrowing its scopes', () => onKey('PATCH', '', { scopes: ['a:c'] })],
  [
    'limiting its key, or lifting its limits',
    () => onKey('PATCH', '', claimsOf(token)['metered'] ? UNLIMITED : DAILY),
  ],
  ['rotating with 0', () => onKey('POST', '/rotate', {})],
  ['rotating with a short overlap', () => onKey('POST', '/rotate', { overlap_seconds: 60 })],
  ['disabling its owner', () => execute('update users set disabled_at = 1 where id = ?', user.id)],
  [
    'giving its owner another role',
    () => execute("update users set role = 'admin' where id = ?", user.id),
  ],
  ['giving its device another name', () => onDevice('PATCH', { name: `${device.name} 2` })],
  ['disabling its device', () => onDevice('PATCH', { enabled: false })],
  ['deleting its device', () => onDevice('DELETE')],
]

describe.each(KEY_KINDS)('a device token of %s', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it.each(ENDS)('is dead by the bound after %s', async (_, end) => {
    await end()
    here.now += POLL_MS - 1
    expect(await here.codeOf(token)).toBe('valid')
    elsewhere.now += POLL_MS
    expect(await elsewhere.codeOf(token)).toBe('revoked')
  })

  it.each(ENDS)('is dead at once on fresh after %s', async (_, end) => {
    await end()
    expect(await here.codeOf(token, { fresh: true })).toBe('revoked')
  })

  it.each(ENDS.filter(([name]) => !name.includes('owner')))(
    'is dead at once where it was done: %s',
    async (_, end) => {
      expect((await call('GET', '/v1/device', { token })).status).toBe(200)
      await end()
      expect(await call('GET', '/v1/device', { token })).toMatchObject({
        status: 401,
        body: { code: 'revoked' },
      })
    },
  )

  it('of an unrelated key lives on, and one that is issued after re-enabling lives', async () => {
    const other = await makeLimitedDevice(user, limits)
    const unrelated = await fetchToken(other)
    await onKey('PATCH', '', { enabled: false })
    await onKey('PATCH', '', { enabled: true })
    const next = await fetchToken(device)
    here.now += POLL_MS
    expect(await here.codeOf(token)).toBe('revoked')
    expect(await here.codeOf(next)).toBe('valid')
    expect(await here.codeOf(unrelated)).toBe('valid')
  })

  it('costs nothing more for 1,000 requests within a poll period', async () => {
    for (let request = 0; request < 1000; request += 1) {
      here.now += 4
      expect(await here.codeOf(token)).toBe('valid')
    }
    expect(here.statements).toHaveLength(readsOf(limits))
  })

  it('is read ahead in the background after half the period, once', async () => {
    here.now += POLL_MS / 2
    await Promise.all(Array.from({ length: 20 }, () => here.codeOf(token)))
    await vi.waitFor(() => expect(here.state.feed.readAt).toBe(here.now))
    expect(here.statements).toHaveLength(2 * readsOf(limits))
  })

  it('outlives an outage as keys do, and is never a bad token', async () => {
    here.database = withFailingDatabase().DB
    here.now += STALE_MS - 1
    expect(await here.codeOf(token)).toBe('valid')
    here.now += 1
    await expect(here.codeOf(token)).rejects.toThrow(/^D1 /)
    const cold = makeIsolate(here.now)
    cold.database = withFailingDatabase().DB
    await expect(cold.codeOf(token)).rejects.toThrow(/^D1 /)
  })

  it('a feed that fails is asked once a second, however many tokens come', async () => {
    const { database, statements } = countFailures()
    here.database = database
    here.now += POLL_MS
    for (const step of [0, 1, 498, 500]) {
      here.now += step
      expect(await here.codeOf(token)).toBe('valid')
    }
    // For the feed; a key is not asked for while D1 is left alone.
    expect(statements).toHaveLength(1)
    // The failure was noticed a little later than its request.
    here.now += 100
    expect(await here.codeOf(token)).toBe('valid')
    expect(statements).toHaveLength(2)
  })

  it('a token revoked right after it was issued stays revoked until its very end', async () => {
    await onKey('DELETE', '')
    const end = Number(claimsOf(token)['exp']) * 1000
    for (here.now += POLL_MS; here.now < end; here.now += POLL_MS) {
      expect(await here.codeOf(token)).toBe('revoked')
    }
    // Also where the feed is read for the first time then.
    expect(await makeIsolate(end - 1).codeOf(token)).toBe('revoked')
  })

  it('is no older than the setting allows, also when that is lowered', async () => {
    const settings = { ...loadSettings(env), deviceTokenSeconds: 60 }
    const lowered = makeIsolate(Date.now() + 59_000, settings)
    expect(await lowered.codeOf(token)).toBe('valid')
    lowered.now += 2000
    expect(await lowered.codeOf(token)).toBe('expired')
  })

  it('expires by itself', async () => {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
    here.now = exp * 1000 - 1
    expect(await here.codeOf(token)).toBe('valid')
    here.now += 1
    expect(await here.codeOf(token)).toBe('expired')
  })

  it('never outlives its secret or its key', async () => {
    const end = Date.now() + 120_500
    await execute('update api_keys set expires_at = ? where id = ?', end, device.keyId)
    const claims = JSON.parse(
      Buffer.from((await fetchToken(device)).split('.')[1] ?? '', 'base64url').toString(),
    )
    expect(claims.exp).toBe(Math.floor(end / 1000))
  })

  it('a token that is fetched with an old secret ends when that secret does', async () => {
    await onKey('POST', '/rotate', { overlap_seconds: 120 })
    const [old] = await rowsOf(
      'select expires_at from key_secrets where key_id = ? and expires_at is not null',
      device.keyId,
    )
    const { exp } = claimsOf(await fetchToken(device))
    expect(exp).toBe(Math.floor(Number(old?.['expires_at']) / 1000))
  })

  it('holds no more scopes than it was narrowed to', async () => {
    const narrowed = await fetchToken(device, { scope: 'a:b' })
    const isolate = makeIsolate(Date.now())
    expect(await isolate.codeOf(narrowed, { scopes: ['a:b'] })).toBe('valid')
    expect(await isolate.codeOf(narrowed, { scopes: ['a:c'] })).toBe('insufficient_scope')
  })

  it('is good where an older end of its key is remembered, also right after pruning', async () => {
    await onKey('PATCH', '', { enabled: false })
    await onKey('PATCH', '', { enabled: true })
    expect(await here.codeOf(token, { fresh: true })).toBe('revoked')
    const settings = loadSettings(env)
    await pruneFeed(contextAt(Date.now() + settings.deviceTokenSeconds * 1000 + 121_000))
    expect(await countRows('revocations', 'true')).toBe(0)
    expect(await here.codeOf(await fetchToken(device))).toBe('valid')
    expect(await here.codeOf(token)).toBe('revoked')
  })

  it('leaves nothing on the feed that no token can concern', async () => {
    await onKey('DELETE', '')
    const settings = loadSettings(env)
    const lifetime = settings.deviceTokenSeconds * 1000
    await pruneFeed(contextAt(Date.now() + lifetime))
    expect(await countRows('revocations', 'true')).toBeGreaterThan(0)
    await pruneFeed(contextAt(Date.now() + lifetime + 121_000))
    expect(await countRows('revocations', 'true')).toBe(0)
    // Numbers go on: a token that is issued now is dead by the next entry.
    const other = await makeLimitedDevice(user, limits)
    const next = await fetchToken(other)
    await call('DELETE', `/v1/devices/${other.id}`, { token: user.token })
    expect(await makeIsolate(Date.now()).codeOf(next)).toBe('revoked')
  })
})

describe('a device token of a key that was limited before it', () => {
  beforeEach(async () => await setUp({}))

  it('is charged as its secret is', async () => {
    await onKey('PATCH', '', { rate_limit: { limit: 4, window_seconds: 60 } })
    const metered = await fetchToken(device)
    expect(await here.codeOf(metered)).toBe('valid')
    expect(await here.codeOf(device.secret)).toBe('valid')
    expect(await elsewhere.codeOf(metered)).toBe('valid')
    expect(await elsewhere.codeOf(metered)).toBe('rate_limited')
    expect(await here.codeOf(device.secret)).toBe('rate_limited')
  })
})

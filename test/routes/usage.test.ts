import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { flushUsage } from '../../src/services/verify/count-usage.ts'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { makeUser, type TestDevice } from '../support/fixtures.ts'
import { contextAt, type Isolate, makeIsolate } from '../support/isolates.ts'
import {
  atOnce,
  fail,
  makeLimitedDevice,
  makePlainDevice,
  setClock,
  setUpVerifier,
  stateOf,
  watchStates,
  type WireLimits,
} from '../support/limits.ts'
import { execute } from '../support/rows.ts'
import { countUse, flush, totalsOf, usageOf } from '../support/usage.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Verifies with every outcome; returns how many of each came out, but for questions. */
async function verifyAllWays(isolate: Isolate, device: TestDevice) {
  const outcomes: Record<string, number> = {}
  const verify = async (times: number, request: Parameters<Isolate['codeOf']>[1] = {}) => {
    for (const code of await atOnce(times, () => isolate.codeOf(device.secret, request))) {
      const outcome = code === 'valid' ? 'allowed' : code
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    }
  }
  const change = async (fields: string) => {
    await execute(`update api_keys set ${fields} where id = ?`, device.keyId)
    await verify(1, { fresh: true })
  }
  await verify(30)
  // A question is not a use.
  await atOnce(7, () => isolate.codeOf(device.secret, { cost: 0 }))
  await verify(5, { scopes: ['not:held'] })
  await change('disabled_at = 1')
  await verify(4)
  await change('disabled_at = null, expires_at = 1')
  await verify(3)
  await change('expires_at = null, revoked_at = 1')
  await verify(2)
  return outcomes
}

describe('usage', () => {
  const KINDS: readonly (readonly [string, WireLimits])[] = [
    ['an unlimited key', {}],
    ['a rate_limited key', { rate_limit: { limit: 12, window_seconds: 3600 } }],
    ['a key with a quota', { quota: { limit: 20, period: 'month' } }],
    [
      'a key with both',
      { rate_limit: { limit: 25, window_seconds: 60 }, quota: { limit: 18, period: 'total' } },
    ],
  ]

  it.each(KINDS)('of %s adds up: as many out as in, by outcome', async (_, limits) => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const isolate = makeIsolate(Date.now())
    const outcomes = await verifyAllWays(isolate, device)
    expect(outcomes).toMatchObject({ insufficient_scope: 5, disabled: 5, expired: 4, revoked: 3 })
    await flush(isolate)
    expect(await totalsOf(user, device)).toEqual(outcomes)
    // Reading it does not change it, nor does a flush of nothing.
    await flush(isolate)
    expect(await totalsOf(user, device)).toEqual(outcomes)
    expect(await totalsOf(user, device, '?interval=day')).toEqual(outcomes)
  })

  it('counts the refusals that the isolate makes itself', async () => {
    const user = await makeUser()
    const rate_limit = { limit: 2, window_seconds: 3600 }
    const device = await makeLimitedDevice(user, { rate_limit })
    const isolate = makeIsolate(Date.now())
    const { states, calls } = watchStates()
    isolate.states = states
    for (let request = 0; request < 50; request += 1) await isolate.codeOf(device.secret)
    expect(calls).toHaveLength(3)
    // Those that the object saw are there before any flush.
    expect(await totalsOf(user, device)).toEqual({ allowed: 2, rate_limited: 1 })
    await flush(isolate)
    expect(await totalsOf(user, device)).toEqual({ allowed: 2, rate_limited: 48 })
  })

  it('counts at every door, for whoever was verified, and not what was made up', async () => {
    const { user, device, verifier, verify } = await setUpVerifier({})
    await verify()
    await verify({ scopes: ['a:b'] })
    await verify({ api_key: `${device.secret.slice(0, -2)}xx` })
    await call('GET', '/v1/device', { token: device.secret })
    await call('POST', '/device/check-in', { body: { api_key: device.secret } })
    await flushUsage(contextAt())
    expect(await totalsOf(user, device)).toEqual({ allowed: 3, insufficient_scope: 1 })
    expect(await totalsOf(user, verifier)).toEqual({ allowed: 3 })
  })

  it('does not count for an owner who asked in vain about another’s', async () => {
    const { verify } = await setUpVerifier({})
    const { user, device } = await makePlainDevice()
    expect((await verify({ api_key: device.secret })).body).toEqual({
      valid: false,
      code: 'not_found',
    })
    await flushUsage(contextAt())
    expect(await usageOf(user, device)).toEqual([])
  })

  it('lets through where the limits could not be asked, and counts that', async () => {
    const user = await makeUser()
    const rate_limit = { limit: 2, window_seconds: 60 }
    const device = await makeLimitedDevice(user, { rate_limit })
    const isolate = makeIsolate(Date.now(), { ...loadSettings(env), limiterFailure: 'open' })
    isolate.states = watchStates(({ method }) => (method === 'charge' ? fail() : undefined)).states
    vi.spyOn(console, 'error').mockReturnValue()
    for (let request = 0; request < 3; request += 1) await isolate.codeOf(device.secret)
    await flush(isolate)
    expect(await totalsOf(user, device)).toEqual({ allowed: 3 })
  })

  it.each([
    [
      'all',
      {
        plain: { allowed: 2, insufficient_scope: 1 },
        limited: { allowed: 2, insufficient_scope: 1 },
      },
    ],
    ['metered', { plain: {}, limited: { allowed: 2, insufficient_scope: 1 } }],
    ['off', { plain: {}, limited: {} }],
  ] as const)('with USAGE=%s is kept of %j', async (usage, expected) => {
    const user = await makeUser()
    const plain = await makeLimitedDevice(user, {})
    const limited = await makeLimitedDevice(user, { quota: { limit: 9, period: 'day' } })
    const isolate = makeIsolate(Date.now(), { ...loadSettings(env), usage })
    for (const { secret } of [plain, limited]) {
      await isolate.codeOf(secret)
      await isolate.codeOf(secret)
      await isolate.codeOf(secret, { scopes: ['a'] })
    }
    await flush(isolate)
    expect(await totalsOf(user, plain)).toEqual(expected.plain)
    expect(await totalsOf(user, limited)).toEqual(expected.limited)
    // Limits hold whatever is counted.
    const verified = await isolate.verify(limited.secret)
    expect(verified).toMatchObject({ meter: { quota: { remaining: 6 } } })
  })
})

describe('the object of a device', () => {
  const HOUR = Date.UTC(2031, 2, 1, 12)
  const MINUTE = HOUR + 34 * 60_000

  it('never takes a last use back, whatever its clock does', async () => {
    const id = newId('dev')
    for (const at of [MINUTE + 60_000, MINUTE + 59_999, MINUTE]) {
      setClock(at)
      await countUse(id, at)
    }
    const use = { keyId: 'key', secretHash: 'hash', at: MINUTE + 60_000 }
    expect(await stateOf({ id }).lastUses()).toEqual([use])
  })

  it('takes a use of an isolate whose clock is an hour ahead for one of now', async () => {
    const id = newId('dev')
    setClock(MINUTE + 30_000)
    await countUse(id, MINUTE + 30_000 + 3_600_000)
    const use = { keyId: 'key', secretHash: 'hash', at: MINUTE }
    expect(await stateOf({ id }).lastUses()).toEqual([use])
    const usage = { start: HOUR, keyId: 'key', outcome: 'allowed', count: 1 }
    expect(await stateOf({ id }).usage('hour', 0, HOUR + 86_400_000)).toEqual([usage])
  })
})

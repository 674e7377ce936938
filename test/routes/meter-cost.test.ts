import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { makeUser, markUsed } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import {
  atOnce,
  makeLimitedDevice,
  makePlainDevice,
  patchKey,
  stateOf,
  watchStates,
  type WireLimits,
} from '../support/limits.ts'

/** An isolate that has seen the key once, over watched objects. */
async function warmIsolate(limits: WireLimits) {
  const user = await makeUser()
  const device = await makeLimitedDevice(user, limits)
  const isolate = makeIsolate(Date.now())
  const { states, calls } = watchStates()
  isolate.states = states
  const verify = async (cost = 1) => await isolate.codeOf(device.secret, { cost })
  return { user, device, isolate, calls, verify }
}

const rate = (limit: number, window_seconds = 3600) => ({ rate_limit: { limit, window_seconds } })

beforeAll(async () => {
  // The first call to any object starts the class.
  await stateOf({ id: 'nobody' }).lastUses()
})

describe('the cost of a request', () => {
  it('is no call to the object for a key without limits, cold or warm', async () => {
    const { device } = await makePlainDevice()
    await markUsed(device)
    const { env: watched, calls } = watchStates()
    const { database, statements } = countStatements(env.DB)
    const world = { ...watched, DB: database }
    for (let request = 0; request < 20; request += 1) {
      const { status } = await call('GET', '/v1/device', { token: device.secret, env: world })
      expect(status).toBe(200)
    }
    expect(calls).toEqual([])
    expect(statements).toHaveLength(1)
  })

  it('is one call and no statement for a key with limits, warm', async () => {
    const device = await makeLimitedDevice(await makeUser(), {
      ...rate(1000),
      quota: { limit: 1000, period: 'day' },
    })
    await markUsed(device)
    const { env: watched, calls } = watchStates()
    const { database, statements } = countStatements(env.DB)
    const world = { ...watched, DB: database }
    for (let request = 1; request <= 20; request += 1) {
      const { status } = await call('GET', '/v1/device', { token: device.secret, env: world })
      expect(status).toBe(200)
      expect(calls).toHaveLength(request)
    }
    expect(new Set(calls.map(({ method }) => method))).toEqual(new Set(['charge']))
    // Cold it was one read.
    expect(statements).toEqual([expect.stringMatching(/^select/i)])
  })

  it('is no call for a key with limits that fails for another reason', async () => {
    const { user, device, isolate, calls } = await warmIsolate(rate(5))
    expect(await isolate.codeOf(device.secret, { scopes: ['a'] })).toBe('insufficient_scope')
    await patchKey(user, device, { enabled: false })
    expect(await isolate.codeOf(device.secret, { fresh: true })).toBe('disabled')
    expect(calls).toEqual([])
  })

  it('is one call each, however many ask at once', async () => {
    const { calls, verify } = await warmIsolate(rate(1000))
    await verify()
    await atOnce(50, verify)
    expect(calls).toHaveLength(51)
  })
})

describe('a key that is over its limit', () => {
  it('is refused in the isolate until a retry would pass, and then asks again', async () => {
    const { isolate, calls, verify } = await warmIsolate(rate(3, 60))
    const start = isolate.now
    for (let request = 0; request < 3; request += 1) expect(await verify()).toBe('valid')
    expect(await verify()).toBe('rate_limited')
    expect(calls).toHaveLength(4)
    for (const later of [0, 1, 30_000, 59_000]) {
      isolate.now = start + later
      expect(await verify()).toBe('rate_limited')
      expect(await verify(1000)).toBe('rate_limited')
    }
    expect(calls).toHaveLength(4)
    // The isolate's clock is the test's, the object's is its own: still full, so it says so.
    isolate.now = start + 60_001
    expect(await verify()).toBe('rate_limited')
    expect(calls).toHaveLength(5)
  })

  it('is not asked about later than the object said: what passes there passes here', async () => {
    const { isolate, calls, verify } = await warmIsolate(rate(2, 1))
    expect([await verify(), await verify(), await verify()]).toEqual([
      'valid',
      'valid',
      'rate_limited',
    ])
    await scheduler.wait(1050)
    isolate.now = Date.now()
    expect(await verify()).toBe('valid')
    expect(calls).toHaveLength(4)
  })

  it('counts from now, whatever the difference between the two clocks', async () => {
    const { isolate, calls, verify } = await warmIsolate(rate(1, 60))
    isolate.now += 3_000_000
    expect(await verify()).toBe('valid')
    expect(await verify()).toBe('rate_limited')
    isolate.now += 59_000
    expect(await verify()).toBe('rate_limited')
    expect(calls).toHaveLength(2)
    isolate.now += 1001
    await verify()
    expect(calls).toHaveLength(3)
  })

  it('asks for a smaller cost, and remembers the smaller refusal', async () => {
    const { calls, verify } = await warmIsolate(rate(10))
    expect(await verify(8)).toBe('valid')
    expect(await verify(5)).toBe('rate_limited')
    expect(await verify(5)).toBe('rate_limited')
    expect(await verify(900)).toBe('rate_limited')
    expect(calls).toHaveLength(2)
    expect(await verify(4)).toBe('rate_limited')
    expect(await verify(2)).toBe('valid')
    expect(calls).toHaveLength(4)
    expect(await verify(1)).toBe('rate_limited')
    expect(await verify(1)).toBe('rate_limited')
    expect(calls).toHaveLength(5)
    // Asking without spending is always answered.
    expect(await verify(0)).toBe('valid')
    expect(calls).toHaveLength(6)
  })

  it('is asked about once a minute where its quota is for good', async () => {
    const { isolate, calls, verify } = await warmIsolate({ quota: { limit: 1, period: 'total' } })
    const start = isolate.now
    await verify()
    for (const later of [0, 1000, 9000]) {
      isolate.now = start + later
      expect(await verify()).toBe('quota_exceeded')
    }
    expect(calls).toHaveLength(2)
    isolate.now = start + 61_000
    expect(await verify()).toBe('quota_exceeded')
    expect(calls).toHaveLength(3)
  })

  it('passes as soon as the isolate that remembers the refusal learns of a raised limit', async () => {
    const { user, device, isolate, calls, verify } = await warmIsolate(rate(2))
    await verify()
    await verify()
    expect(await verify()).toBe('rate_limited')
    await patchKey(user, device, rate(3))
    // Within the cache bound, or at once where it is asked for.
    isolate.now += 10_000
    expect(await verify()).toBe('valid')
    expect(await verify()).toBe('rate_limited')
    expect(calls).toHaveLength(5)
  })

  it('passes at once in the isolate that raised the limit, or took it away', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, rate(1))
    const { env: watched, calls } = watchStates()
    const get = async () =>
      (await call('GET', '/v1/device', { token: device.secret, env: watched })).status
    expect([await get(), await get(), await get()]).toEqual([200, 429, 429])
    expect(calls).toHaveLength(2)
    expect((await patchKey(user, device, rate(2))).status).toBe(200)
    expect([await get(), await get(), await get()]).toEqual([200, 429, 429])
    expect(calls).toHaveLength(4)
    // Lowered to what is remembered as refused: nothing has changed there.
    await patchKey(user, device, rate(1))
    expect(await get()).toBe(429)
    expect((await patchKey(user, device, { rate_limit: null })).status).toBe(200)
    expect([await get(), await get()]).toEqual([200, 200])
    expect(calls).toHaveLength(4)
  })

  it('does not stand in the way of another key, nor of the same limits on another', async () => {
    const { isolate, verify, user } = await warmIsolate(rate(1))
    await verify()
    expect(await verify()).toBe('rate_limited')
    const other = await makeLimitedDevice(user, rate(1))
    expect(await isolate.codeOf(other.secret)).toBe('valid')
  })
})

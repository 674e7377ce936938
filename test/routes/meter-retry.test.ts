import { env } from 'cloudflare:workers'
import { runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import {
  atOnce,
  chargeOf,
  fail,
  hang,
  type Intervention,
  makeLimitedDevice,
  type PendingCall,
  setUpVerifier,
  stateOf,
  tally,
  watchStates,
} from '../support/limits.ts'
import { totalsOf } from '../support/usage.ts'

const LIMITS = {
  rate_limit: { limit: 5, window_seconds: 3600 },
  quota: { limit: 5, period: 'day' },
}
const SPENT_ONCE = { rate_limit: { remaining: 4 }, quota: { remaining: 4 } }
const TIMEOUT_MS = 80

/** The object has charged, and the connection is gone before its answer is there. */
async function loseAnswer({ reach }: PendingCall): Promise<never> {
  await reach()
  return await fail()
}

/** Objects whose first charges go wrong in these ways, one each; the next reach the object. */
function goingWrong(ways: readonly Intervention[], settings: Partial<Env> = {}) {
  const left = [...ways]
  return watchStates((pending) => left.shift()?.(pending), settings)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('a charge whose call fails', () => {
  it.each([
    ['its answer is lost once', [loseAnswer]],
    ['its answer is lost twice', [loseAnswer, loseAnswer]],
    ['it does not reach the object at first', [fail]],
    ['it does not reach the object twice', [fail, fail]],
    ['it does not reach the object at first, and its answer is lost then', [fail, loseAnswer]],
  ])('is allowed, spends once and is counted once where %s', async (_, ways) => {
    const { user, device, verify } = await setUpVerifier(LIMITS)
    const lines = captureConsole()
    const { env: world, calls } = goingWrong(ways)
    const { body } = await verify({}, { env: world })
    expect(body).toMatchObject({ valid: true, ...SPENT_ONCE })
    expect(body).not.toHaveProperty('metered')
    expect(calls).toHaveLength(ways.length + 1)
    expect((await verify({ cost: 0 })).body).toMatchObject(SPENT_ONCE)
    expect(await totalsOf(user, device)).toEqual({ allowed: 1 })
    expect(eventsOf(lines, 'meter-failure')).toEqual([])
  })

  it('is made again on a new stub: that of a restarted object stays broken', async () => {
    const { device, verify } = await setUpVerifier(LIMITS)
    const errors: unknown[] = []
    const restart: Intervention = async ({ reach }) => {
      await reach()
      const abort = runInDurableObject(stateOf(device), (_, ctx) => ctx.abort('restarted'))
      await abort.catch(() => undefined)
      await reach().catch((error: unknown) => errors.push(error))
      return await reach()
    }
    const { env: world, calls } = goingWrong([restart])
    expect((await verify({}, { env: world })).body).toMatchObject({ valid: true, ...SPENT_ONCE })
    expect(calls).toHaveLength(2)
    expect(errors).toMatchObject([{ message: 'restarted', durableObjectReset: true }])
  })

  it('is a 503 after three tries, and has spent once', async () => {
    const { verify } = await setUpVerifier(LIMITS)
    captureConsole()
    const { env: world, calls } = goingWrong([loseAnswer, loseAnswer, loseAnswer])
    expectProblem(await verify({}, { env: world }), 503, 'unavailable')
    expect(calls).toHaveLength(3)
    expect((await verify({ cost: 0 })).body).toMatchObject(SPENT_ONCE)
  })

  it('is not made again where the object is overloaded', async () => {
    const { verify } = await setUpVerifier(LIMITS)
    captureConsole()
    const overloaded = Object.assign(new Error('Durable Object is overloaded.'), {
      overloaded: true,
      retryable: true,
    })
    const { env: world, calls } = goingWrong([async () => await Promise.reject(overloaded)])
    expectProblem(await verify({}, { env: world }), 503, 'unavailable')
    expect(calls).toHaveLength(1)
  })

  it('is granted at the retry although it has used up a quota of one itself', async () => {
    const { verify } = await setUpVerifier({ quota: { limit: 1, period: 'total' } })
    const first = await verify({}, { env: goingWrong([loseAnswer]).env })
    expect(first.body).toMatchObject({ valid: true, quota: { remaining: 0 } })
    const second = await verify({}, { env: goingWrong([loseAnswer]).env })
    expect(second.body).toMatchObject({ valid: false, code: 'quota_exceeded' })
  })
})

describe('a charge whose call hangs', () => {
  it.each(['closed', 'open'] as const)(
    'is given up when METER_TIMEOUT_MS is over, and not made again (%s)',
    async (mode) => {
      const device = await makeLimitedDevice(await makeUser(), LIMITS)
      captureConsole()
      const settings = { LIMITER_FAILURE: mode, METER_TIMEOUT_MS: String(TIMEOUT_MS) }
      const { env: world, calls } = goingWrong([hang], settings)
      const started = performance.now()
      const answer = await call('GET', '/v1/device', { token: device.secret, env: world })
      const took = performance.now() - started
      expect(took).toBeGreaterThanOrEqual(TIMEOUT_MS - 1)
      expect(took).toBeLessThan(TIMEOUT_MS + 1000)
      expect(answer.status).toBe(mode === 'open' ? 200 : 503)
      expect(calls).toHaveLength(1)
    },
  )

  it('is not made again when it fails after the 503', async () => {
    const device = await makeLimitedDevice(await makeUser(), LIMITS)
    captureConsole()
    const late: Intervention = () => scheduler.wait(2 * TIMEOUT_MS).then(fail)
    const { states, calls } = goingWrong([late])
    const settings = { ...loadSettings(env), meterTimeoutMs: TIMEOUT_MS }
    const isolate = makeIsolate(Date.now(), settings)
    isolate.states = states
    await expect(isolate.codeOf(device.secret)).rejects.toThrow('did not answer')
    await scheduler.wait(3 * TIMEOUT_MS)
    expect(calls).toHaveLength(1)
  })

  it('is not made again where the time ends between two tries', async () => {
    const device = await makeLimitedDevice(await makeUser(), LIMITS)
    captureConsole()
    const { states, calls } = goingWrong([fail, fail, fail])
    const isolate = makeIsolate(Date.now(), { ...loadSettings(env), meterTimeoutMs: 50 })
    isolate.states = states
    await expect(isolate.codeOf(device.secret)).rejects.toThrow('did not answer')
    await scheduler.wait(200)
    expect(calls.length).toBeLessThan(3)
  })
})

describe('200 charges at once, of which random calls fail', () => {
  it('spend exactly as many as are granted', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, {
      rate_limit: { limit: 1000, window_seconds: 3600 },
      quota: { limit: 150, period: 'total' },
    })
    const failures: string[] = []
    const { states } = watchStates((pending) => {
      // A retry has the same arguments. Each charge fails twice at most: then it is given up.
      const charge = JSON.stringify(pending.args)
      const isSpared = failures.filter((failed) => failed === charge).length === 2
      if (isSpared || Math.random() < 0.6) return undefined
      failures.push(charge)
      return Math.random() < 0.7 ? loseAnswer(pending) : fail()
    })
    // Not a test of the time: a busy machine may be slow.
    const isolate = makeIsolate(Date.now(), { ...loadSettings(env), meterTimeoutMs: 30_000 })
    isolate.states = states
    const codes = await atOnce(200, () => isolate.codeOf(device.secret))
    expect(failures.length).toBeGreaterThan(20)
    expect(tally(codes)).toEqual({ valid: 150, quota_exceeded: 50 })
    const policy = {
      rateLimit: { limit: 1000, windowSeconds: 3600 },
      quota: { limit: 150, period: 'total' },
    } as const
    const asked = chargeOf(policy, { cost: 0, keyId: device.keyId })
    expect(await stateOf(device).charge(device.id, asked)).toMatchObject({
      rateLimit: { remaining: 850 },
      quota: { remaining: 0 },
    })
    expect(await totalsOf(user, device)).toMatchObject({ allowed: 150 })
  })
})

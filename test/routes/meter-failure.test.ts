import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { loadSettings } from '../../src/settings.ts'
import { expectExactly, MESSAGE, postClassic } from '../support/classic.ts'
import { call } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import {
  atOnce,
  fail,
  hang,
  makeLimitedDevice,
  makePlainDevice,
  setUpVerifier,
  stateOf,
  watchStates,
} from '../support/limits.ts'
import { cheapHashing } from '../support/sign-in.ts'

const LIMITS = {
  rate_limit: { limit: 5, window_seconds: 3600 },
  quota: { limit: 5, period: 'day' },
}
const TIMEOUT_MS = 80

/** The tests' environment with objects that do not charge, in one way or the other. */
function failing(how: 'throws' | 'hangs', mode: 'closed' | 'open'): Env {
  const instead = how === 'throws' ? fail : hang
  const settings = { LIMITER_FAILURE: mode, METER_TIMEOUT_MS: String(TIMEOUT_MS) }
  return watchStates(({ method }) => (method === 'charge' ? instead() : undefined), settings).env
}

/** Objects that charge after a wait. */
const slowStates = (wait: number) =>
  watchStates(({ method, reach }) =>
    method === 'charge' ? scheduler.wait(wait).then(reach) : undefined,
  ).states

const HOWS = ['throws', 'hangs'] as const

afterEach(() => {
  vi.restoreAllMocks()
})

describe.each(HOWS)('an object that %s', (how) => {
  it('is a 503 with Retry-After at the device’s door, and a log line with its id', async () => {
    const device = await makeLimitedDevice(await makeUser(), LIMITS)
    const lines = captureConsole()
    const world = failing(how, 'closed')
    const started = performance.now()
    const answer = await call('GET', '/v1/device', { token: device.secret, env: world })
    if (how === 'hangs') expect(performance.now() - started).toBeGreaterThanOrEqual(TIMEOUT_MS - 1)
    expectProblem(answer, 503, 'unavailable')
    expect(answer.headers.get('ratelimit')).toBeNull()
    expect(answer.headers.get('www-authenticate')).toBeNull()
    expect(eventsOf(lines, 'meter-failure')).toEqual([
      { event: 'meter-failure', device: device.id, mode: 'closed' },
    ])
    expect(lines.map(({ text }) => text).join('')).not.toContain(device.secret)
  })

  it('is a 503 at the verifier’s door and at the classic one', async () => {
    const { verify, device } = await setUpVerifier(LIMITS)
    captureConsole()
    const world = failing(how, 'closed')
    expectProblem(await verify({}, { env: world }), 503, 'unavailable')
    const body = { api_key: device.secret }
    const classic = await postClassic('/device/check-in', body, {
      env: { ...cheapHashing, ...world },
    })
    expectExactly(classic, 503, MESSAGE)
    expect(classic.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    expect(await stateOf(device).lastCheckIn()).toBeUndefined()
  })

  it('lets through where LIMITER_FAILURE is open, says so to verifiers, and is logged', async () => {
    const { verify, device } = await setUpVerifier(LIMITS)
    const lines = captureConsole()
    const world = failing(how, 'open')
    const verified = await verify({ cost: 1000 }, { env: world })
    expect(verified.status).toBe(200)
    expect(verified.body).toMatchObject({ valid: true, code: 'valid', metered: false })
    for (const name of ['rate_limit', 'quota']) expect(verified.body).not.toHaveProperty(name)

    const answer = await call('GET', '/v1/device', { token: device.secret, env: world })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('ratelimit')).toBeNull()
    const body = { api_key: device.secret }
    const classic = await postClassic('/device/check-in', body, { env: world })
    expect(classic.status).toBe(200)
    const logged = { event: 'meter-failure', device: device.id, mode: 'open' }
    expect(eventsOf(lines, 'meter-failure')).toEqual([logged, logged, logged])
  })

  it.each(['closed', 'open'] as const)('is no concern of unlimited keys (%s)', async (mode) => {
    const { device } = await makePlainDevice()
    const { verify } = await setUpVerifier({})
    const lines = captureConsole()
    const world = failing(how, mode)
    const answer = await call('GET', '/v1/device', { token: device.secret, env: world })
    expect(answer.status).toBe(200)
    const verified = await verify({}, { env: world })
    expect(verified.body).toMatchObject({ valid: true })
    expect(verified.body).not.toHaveProperty('metered')
    expect(eventsOf(lines, 'meter-failure')).toEqual([])
  })

  it('still says what is wrong with a key that is no good, in either mode', async () => {
    const { verify, device } = await setUpVerifier(LIMITS)
    captureConsole()
    for (const mode of ['closed', 'open'] as const) {
      const answer = await verify({ scopes: ['a:b'] }, { env: failing(how, mode) })
      expect(answer.body).toMatchObject({ valid: false, code: 'insufficient_scope' })
      const forged = `${device.secret.slice(0, -1)}${device.secret.endsWith('0') ? '1' : '0'}`
      const world = failing(how, mode)
      const refused = await call('GET', '/v1/device', { token: forged, env: world })
      expectProblem(refused, 401, 'invalid_credential')
    }
  })
})

describe('an object that fails and recovers', () => {
  it('leaves nothing behind: the next request is decided as if nothing had been', async () => {
    const { verify } = await setUpVerifier(LIMITS)
    captureConsole()
    await verify({ cost: 2 })
    for (const mode of ['closed', 'open'] as const) {
      await atOnce(5, async () => await verify({}, { env: failing('throws', mode) }))
    }
    const { body } = await verify({ cost: 3 })
    expect(body).toMatchObject({ valid: true, rate_limit: { remaining: 0 } })
    expect(body).not.toHaveProperty('metered')
  })

  it('changes nothing for a key that is known to be over: it is refused without the object', async () => {
    const { verify, device } = await setUpVerifier(LIMITS)
    await verify({ cost: 5 })
    expect((await verify()).body).toMatchObject({ code: 'rate_limited' })
    const lines = captureConsole()
    for (const mode of ['closed', 'open'] as const) {
      const answer = await verify({}, { env: failing('hangs', mode) })
      expect(answer.body).toMatchObject({ valid: false, code: 'rate_limited' })
      const door = await call('GET', '/v1/device', {
        token: device.secret,
        env: failing('throws', mode),
      })
      expect(door.status).toBe(429)
    }
    expect(eventsOf(lines, 'meter-failure')).toEqual([])
  })

  it('is waited for as long as METER_TIMEOUT_MS says', async () => {
    const device = await makeLimitedDevice(await makeUser(), LIMITS)
    captureConsole()
    const settings = { ...loadSettings(env), meterTimeoutMs: 200 }
    const isolate = makeIsolate(Date.now(), settings)
    isolate.states = slowStates(20)
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    isolate.states = slowStates(400)
    await expect(isolate.codeOf(device.secret)).rejects.toThrow('did not answer')
  })
})

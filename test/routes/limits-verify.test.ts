import { exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import {
  expectOverLimit,
  fieldsOf,
  makeLimitedDevice,
  patchKey,
  setClock,
  setUpVerifier,
} from '../support/limits.ts'
import { postForm } from '../support/oauth.ts'

const NOON = Date.parse('2031-02-28T12:00:00.250Z')
const rate = (limit: number, window_seconds = 60) => ({ rate_limit: { limit, window_seconds } })
const refusalUntil = (reset_at: string | null) => ({
  code: 'rate_limited',
  rate_limit: { limit: 10, reset_at },
})

// Sessions and keys are made in this time too.
beforeEach(() => setClock(NOON))
afterEach(() => {
  vi.useRealTimers()
})

describe('POST /v1/keys/verify of a limited key', () => {
  it('says how the limits stand, and charges the cost', async () => {
    const limits = { ...rate(1000), quota: { limit: 1500, period: 'total' } }
    const { verify } = await setUpVerifier(limits)
    const resetAt = '2031-02-28T12:01:00.250Z'
    const expected = (rate: number, quota: number, reset_at: string | null = resetAt) => ({
      valid: true,
      code: 'valid',
      rate_limit: { limit: 1000, remaining: rate, reset_at },
      quota: { limit: 1500, remaining: quota, reset_at: null },
    })
    expect((await verify({ cost: 0 })).body).toMatchObject(expected(1000, 1500, null))
    expect((await verify()).body).toMatchObject(expected(999, 1499))
    expect((await verify({ cost: 0 })).body).toMatchObject(expected(999, 1499))
    expect((await verify({ cost: 7 })).body).toMatchObject(expected(992, 1492))
    expect((await verify({ cost: 1000 })).body).toMatchObject({
      valid: false,
      code: 'rate_limited',
      rate_limit: { limit: 1000, remaining: 992, reset_at: resetAt },
      quota: { limit: 1500, remaining: 1492, reset_at: null },
    })
    expect((await verify({ cost: 992 })).body).toMatchObject(expected(0, 500))
    expect((await verify({ cost: 0 })).body).toMatchObject(expected(0, 500))
    setClock(NOON + 60_000)
    expect((await verify({ cost: 501 })).body).toMatchObject({
      valid: false,
      code: 'quota_exceeded',
      rate_limit: { limit: 1000, remaining: 1000, reset_at: null },
      quota: { limit: 1500, remaining: 500, reset_at: null },
    })
    const last = await verify({ cost: 500 })
    expect(last.body).toMatchObject(expected(500, 0, '2031-02-28T12:02:00.250Z'))
    expect(last.body).not.toHaveProperty('metered')
  })

  it('tells when a refused cost would pass, and for a larger one when it may be asked again', async () => {
    const { verify } = await setUpVerifier(rate(10))
    await verify({ cost: 4 })
    setClock(NOON + 30_000)
    await verify({ cost: 4 })
    const first = '2031-02-28T12:01:00.250Z'
    expect((await verify({ cost: 3 })).body).toMatchObject(refusalUntil(first))
    expect((await verify({ cost: 7 })).body).toMatchObject(refusalUntil(first))
    setClock(NOON + 60_000)
    const second = '2031-02-28T12:01:30.250Z'
    expect((await verify({ cost: 7 })).body).toMatchObject(refusalUntil(second))
    expect((await verify({ cost: 6 })).body).toMatchObject({ valid: true })
  })

  it('has no time for a cost that is more than the limit ever holds', async () => {
    const { verify } = await setUpVerifier(rate(10))
    expect((await verify({ cost: 11 })).body).toMatchObject(refusalUntil(null))
  })

  it.each([-1, 1001, 1.5, '1', null, 1_000_000])('refuses a cost of %j', async (cost) => {
    const { verify } = await setUpVerifier(rate(10))
    expectProblem(await verify({ cost }), 400, 'invalid_request', ['/cost'])
    expect((await verify({ cost: 0 })).body).toMatchObject({ rate_limit: { remaining: 10 } })
  })

  it('takes any cost for a key without limits, and says nothing of limits', async () => {
    const { verify } = await setUpVerifier({})
    const { body } = await verify({ cost: 1000 })
    expect(body).toMatchObject({ valid: true })
    for (const name of ['rate_limit', 'quota', 'metered']) expect(body).not.toHaveProperty(name)
  })

  it("charges the verifier's own key as well, and refuses it as its own", async () => {
    const { user, verifier, verify } = await setUpVerifier(rate(10))
    await patchKey(user, verifier, rate(2))
    const answer = await verify({ cost: 5 })
    expect(answer.body).toMatchObject({ rate_limit: { limit: 10, remaining: 5 } })
    expect(fieldsOf(answer).reading).toBe('"rate";r=1;t=60')
    await verify({ cost: 5 })
    const standing = { limit: 2, remaining: 0, reset_at: '2031-02-28T12:01:00.250Z' }
    expectOverLimit(await verify({ cost: 0 }), 'rate_limited', standing, 60)
  })

  it.each([-1, 1001, 1.5, 1_000_000, Number.NaN])(
    'a cost of %d over RPC is refused and spends nothing',
    async (cost) => {
      const device = await makeLimitedDevice(await makeUser(), rate(2000))
      const refused = await exports.KeyVerifier.verify(device.secret, { owner: 'any', cost })
      expect(refused).toMatchObject({ valid: false, code: 'misconfigured' })
      const standing = await exports.KeyVerifier.verify(device.secret, {
        owner: 'any',
        cost: 0,
      })
      expect(standing).toMatchObject({ valid: true, rate_limit: { remaining: 2000 } })
    },
  )

  it('is the same over RPC', async () => {
    const device = await makeLimitedDevice(await makeUser(), rate(2))
    const ask = async (cost: number) =>
      await exports.KeyVerifier.verify(device.secret, { owner: 'any', cost })
    expect(await ask(0)).toMatchObject({ valid: true, rate_limit: { limit: 2, remaining: 2 } })
    expect(await ask(2)).toMatchObject({ valid: true, rate_limit: { remaining: 0 } })
    expect(await ask(1)).toMatchObject({
      valid: false,
      code: 'rate_limited',
      rate_limit: { limit: 2, remaining: 0, reset_at: '2031-02-28T12:01:00.250Z' },
    })
  })
})

describe('a limited key that does not hold keys:verify', () => {
  it('a limited key without keys:verify is refused as a verifier, and not charged', async () => {
    const user = await makeUser()
    const { secret: token } = await makeLimitedDevice(user, { ...rate(2), scopes: ['a'] })
    const { secret: api_key } = await makeDevice(user)
    const ask = async () => {
      const headers = { Authorization: `Bearer ${token}` }
      const verified = await call('POST', '/v1/keys/verify', { token, body: { api_key } })
      const introspected = await postForm('/oauth/introspect', { token: api_key }, headers)
      return [verified.status, introspected.status]
    }
    expect(await ask()).toEqual([403, 403])
    for (const reading of ['"rate";r=1;t=60', '"rate";r=0;t=60']) {
      expect(fieldsOf(await call('GET', '/v1/device', { token })).reading).toBe(reading)
    }
    // Over its limit it is told the same: waiting would not help.
    expect(await ask()).toEqual([403, 403])
  })
})

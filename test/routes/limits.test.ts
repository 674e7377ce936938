import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { env } from 'cloudflare:workers'
import { factory } from '../../src/http/env.ts'
import { requestContext } from '../../src/http/middleware/request-context.ts'
import { thisIsolate } from '../../src/isolate/state.ts'
import { requireDevice } from '../../src/http/auth/require-device.ts'
import { expectExactly, MESSAGE, postClassic } from '../support/classic.ts'
import { call, freshIp, ORIGIN } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import {
  expectOverLimit,
  fieldsOf,
  makeLimitedDevice,
  makePlainDevice,
  patchKey,
  setClock,
} from '../support/limits.ts'

const NOON = Date.parse('2031-02-28T12:00:00.250Z')
const rate = (limit: number, window_seconds = 60) => ({ rate_limit: { limit, window_seconds } })

const get = async (token: string) => await call('GET', '/v1/device', { token })

// Sessions and keys are made in this time too.
beforeEach(() => setClock(NOON))
afterEach(() => {
  vi.useRealTimers()
})

describe('a metered response', () => {
  it('says what the limits are and how they stand', async () => {
    const quota = { limit: 5000, period: 'day' }
    const device = await makeLimitedDevice(await makeUser(), { ...rate(100), quota })
    const policy = '"rate";q=100;w=60, "quota";q=5000'
    // The day ends in 43,199.75 s; whole seconds, and never too few.
    expect(fieldsOf(await get(device.secret))).toEqual({
      policy,
      reading: '"rate";r=99;t=60, "quota";r=4999;t=43200',
    })
    setClock(NOON + 44_900)
    expect(fieldsOf(await get(device.secret))).toEqual({
      policy,
      reading: '"rate";r=98;t=16, "quota";r=4998;t=43155',
    })
    setClock(NOON + 60_000)
    expect(fieldsOf(await get(device.secret)).reading).toBe(
      '"rate";r=98;t=45, "quota";r=4997;t=43140',
    )
  })

  it('says only what there is: no quota, no rate, no end', async () => {
    const user = await makeUser()
    const limited = await makeLimitedDevice(user, rate(10, 86_400))
    expect(fieldsOf(await get(limited.secret))).toEqual({
      policy: '"rate";q=10;w=86400',
      reading: '"rate";r=9;t=86400',
    })
    const total = await makeLimitedDevice(user, { quota: { limit: 1_000_000, period: 'total' } })
    expect(fieldsOf(await get(total.secret))).toEqual({
      policy: '"quota";q=1000000',
      reading: '"quota";r=999999',
    })
    const monthly = await makeLimitedDevice(user, { quota: { limit: 2, period: 'month' } })
    expect(fieldsOf(await get(monthly.secret)).reading).toBe('"quota";r=1;t=43200')
    const { device } = await makePlainDevice()
    expect(fieldsOf(await get(device.secret))).toEqual({ policy: null, reading: null })
  })

  it('says so at every door of the device, and not to who presents nothing good', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, rate(4))
    const { secret } = device
    const checkIn = await call('POST', '/v1/device/check-ins', { token: secret, body: {} })
    expect(fieldsOf(checkIn).reading).toBe('"rate";r=3;t=60')
    const classic = await postClassic('/device/check-in', { api_key: secret })
    expect(fieldsOf(classic).reading).toBe('"rate";r=2;t=60')
    const head = await call('HEAD', '/v1/device', { headers: { 'X-API-Key': secret } })
    expect(fieldsOf(head).reading).toBe('"rate";r=1;t=60')
    await patchKey(user, device, { enabled: false })
    const disabled = await get(secret)
    expectProblem(disabled, 401, 'disabled')
    expect(fieldsOf(disabled)).toEqual({ policy: null, reading: null })
  })

  it('says so too where a route answers with a response of its own making', async () => {
    const device = await makeLimitedDevice(await makeUser(), rate(4))
    const app = factory
      .createApp()
      .use(requestContext(thisIsolate))
      .get('/proxied', requireDevice({ owner: 'any' }), () => new Response('from upstream'))
    const request = new Request(`${ORIGIN}/proxied`, {
      headers: { 'X-API-Key': device.secret, 'CF-Connecting-IP': freshIp() },
    })
    const { headers } = await app.fetch(request, env)
    expect(headers.get('ratelimit')).toBe('"rate";r=3;t=60')
    expect(headers.get('ratelimit-policy')).toBe('"rate";q=4;w=60')
  })
})

describe('a key over its rate limit', () => {
  it('is answered 429, and is served at the very time that it was told', async () => {
    const device = await makeLimitedDevice(await makeUser(), rate(2))
    await get(device.secret)
    setClock(NOON + 20_000)
    expect((await get(device.secret)).status).toBe(200)
    const standing = { limit: 2, remaining: 0, reset_at: '2031-02-28T12:01:00.250Z' }
    const refused = await get(device.secret)
    expectOverLimit(refused, 'rate_limited', standing, 40)
    expect(fieldsOf(refused)).toEqual({ policy: '"rate";q=2;w=60', reading: '"rate";r=0;t=40' })
    setClock(NOON + 59_999)
    const early = await get(device.secret)
    expectOverLimit(early, 'rate_limited', standing, 1)
    expect(fieldsOf(early).reading).toBe('"rate";r=0;t=1')
    setClock(NOON + 60_000)
    const served = await get(device.secret)
    expect(served.status).toBe(200)
    expect(fieldsOf(served).reading).toBe('"rate";r=0;t=20')
  })

  it('is told by the classic door in its own shape', async () => {
    const device = await makeLimitedDevice(await makeUser(), rate(1))
    const checkIn = async () => await postClassic('/device/check-in', { api_key: device.secret })
    expect((await checkIn()).status).toBe(200)
    const refused = await checkIn()
    expectExactly(refused, 429, MESSAGE)
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(fieldsOf(refused)).toEqual({ policy: '"rate";q=1;w=60', reading: '"rate";r=0;t=60' })
  })

  it('does not check in: what is refused does nothing', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, rate(1))
    const report = async (count: number) =>
      await call('POST', '/v1/device/check-ins', {
        token: device.secret,
        body: { report: { count } },
      })
    await report(1)
    setClock(NOON + 1000)
    expect((await report(2)).status).toBe(429)
    const { body } = await call('GET', `/v1/devices/${device.id}`, { token: user.token })
    expect(body).toMatchObject({
      last_seen_at: new Date(NOON).toISOString(),
      last_report: { count: 1 },
    })
  })
})

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Answer, call, pick } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { makeLimitedDevice, makePlainDevice, patchKey, setClock } from '../support/limits.ts'
import { auditOf } from '../support/rows.ts'

/** The last second of the last February day of a leap year. */
const LATE = Date.parse('2032-02-29T23:59:59.000Z')

const rate = (limit: number, window_seconds = 60) => ({ rate_limit: { limit, window_seconds } })
const get = async (token: string) => await call('GET', '/v1/device', { token })

const standingOf = ({ status, headers, body }: Answer) => ({
  status,
  retryAfter: headers.get('retry-after'),
  reading: headers.get('ratelimit'),
  ...(status === 429 ? { code: pick(body, 'code') } : {}),
})

beforeEach(() => setClock(LATE))
afterEach(() => {
  vi.useRealTimers()
})

describe('a key over its quota', () => {
  it.each([
    ['hour', '2032-03-01T00:00:00.000Z'],
    ['day', '2032-03-01T00:00:00.000Z'],
    ['month', '2032-03-01T00:00:00.000Z'],
  ])('of a %s is served again when the next begins', async (period, end) => {
    const device = await makeLimitedDevice(await makeUser(), { quota: { limit: 1, period } })
    expect(standingOf(await get(device.secret))).toMatchObject({
      status: 200,
      reading: '"quota";r=0;t=1',
    })
    const refused = await get(device.secret)
    expect(standingOf(refused)).toEqual({
      status: 429,
      code: 'quota_exceeded',
      retryAfter: '1',
      reading: '"quota";r=0;t=1',
    })
    expect(refused.body).toMatchObject({ limit: 1, remaining: 0, reset_at: end })
    setClock(LATE + 999)
    expect((await get(device.secret)).status).toBe(429)
    setClock(LATE + 1000)
    const seconds = { hour: 3600, day: 86_400, month: 31 * 86_400 }[period]
    expect(standingOf(await get(device.secret)).reading).toBe(`"quota";r=0;t=${seconds}`)
  })

  it('for good is told to come back tomorrow: no time is known', async () => {
    const quota = { limit: 1, period: 'total' }
    const device = await makeLimitedDevice(await makeUser(), { quota })
    await get(device.secret)
    const refused = await get(device.secret)
    expect(standingOf(refused)).toEqual({
      status: 429,
      code: 'quota_exceeded',
      retryAfter: '86400',
      reading: '"quota";r=0',
    })
    expect(refused.body).toMatchObject({ limit: 1, remaining: 0, reset_at: null })
    setClock(LATE + 400 * 86_400_000)
    expect((await get(device.secret)).status).toBe(429)
  })

  it('is told of the quota, where it has a rate limit with room as well', async () => {
    const limits = { ...rate(100), quota: { limit: 1, period: 'total' } }
    const device = await makeLimitedDevice(await makeUser(), limits)
    await get(device.secret)
    const refused = await get(device.secret)
    expect(standingOf(refused)).toEqual({
      status: 429,
      code: 'quota_exceeded',
      retryAfter: '86400',
      reading: '"rate";r=99;t=60, "quota";r=0',
    })
    expect(refused.body).toMatchObject({ limit: 1, remaining: 0, reset_at: null })
  })

  it('is told to wait for the later of both where it is over its rate limit as well', async () => {
    setClock(LATE - 9000)
    const limits = { ...rate(1), quota: { limit: 1, period: 'hour' } }
    const device = await makeLimitedDevice(await makeUser(), limits)
    await get(device.secret)
    const refused = await get(device.secret)
    expect(standingOf(refused)).toMatchObject({ code: 'rate_limited', retryAfter: '60' })
    setClock(LATE + 50_999)
    expect((await get(device.secret)).status).toBe(429)
    setClock(LATE + 51_000)
    expect((await get(device.secret)).status).toBe(200)
  })
})

describe('a key over its rate limit, and over its quota for longer', () => {
  it('a key over both limits is told the later end in Retry-After and in reset_at', async () => {
    setClock(Date.parse('2032-02-29T12:00:00.000Z'))
    const limits = { ...rate(1), quota: { limit: 1, period: 'day' } }
    const device = await makeLimitedDevice(await makeUser(), limits)
    await get(device.secret)
    const refused = await get(device.secret)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('43200')
    expect(refused.body).toMatchObject({ limit: 1, reset_at: '2032-03-01T00:00:00.000Z' })
  })
})

describe('the limits of a key', () => {
  it('are shown to the device and to the owner', async () => {
    const user = await makeUser()
    const limits = { ...rate(7, 30), quota: { limit: 9, period: 'month' } }
    const device = await makeLimitedDevice(user, limits)
    expect((await get(device.secret)).body).toMatchObject({ key: limits })
    const keys = `/v1/devices/${device.id}/keys`
    const { token } = user
    expect((await call('GET', `${keys}/${device.keyId}`, { token })).body).toMatchObject(limits)
    expect((await call('GET', keys, { token })).body).toMatchObject({ items: [limits] })
    const made = await call('POST', keys, { token, body: rate(3) })
    expect(made.body).toMatchObject({ key: { ...rate(3), quota: null } })
    const { device: plain } = await makePlainDevice()
    expect((await get(plain.secret)).body).toMatchObject({ key: { rate_limit: null, quota: null } })
  })

  it('change by PATCH, each alone, keep what is counted, and go with null', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, { ...rate(5), quota: { limit: 9, period: 'day' } })
    for (let spent = 0; spent < 3; spent += 1) await get(device.secret)
    const readingAfter = async (change: Record<string, unknown>) => {
      const { status } = await patchKey(user, device, change)
      expect(status).toBe(200)
      return (await get(device.secret)).headers.get('ratelimit')
    }
    expect(await readingAfter(rate(10))).toBe('"rate";r=6;t=60, "quota";r=5;t=1')
    expect(await readingAfter({ name: 'renamed' })).toBe('"rate";r=5;t=60, "quota";r=4;t=1')
    expect(await readingAfter({ quota: { limit: 6, period: 'month' } })).toBe(
      '"rate";r=4;t=60, "quota";r=0;t=1',
    )
    expect(await readingAfter(rate(2))).toBe('"rate";r=0;t=60, "quota";r=0;t=1')
    expect(await readingAfter({ quota: null, ...rate(8, 3600) })).toBe('"rate";r=1;t=3600')
    expect(await readingAfter({ rate_limit: null })).toBeNull()
    for (let again = 0; again < 20; again += 1) expect((await get(device.secret)).status).toBe(200)
    expect((await get(device.secret)).body).toMatchObject({
      key: { rate_limit: null, quota: null },
    })
    // Given back, it goes on where it was: what ran without a limit was not counted.
    expect(await readingAfter(rate(8, 3600))).toBe('"rate";r=0;t=3600')
  })

  it.each([
    { rate_limit: { limit: 1, window_seconds: 1 } },
    { rate_limit: { limit: 1_000_000, window_seconds: 86_400 } },
    { quota: { limit: 1, period: 'hour' } },
    { quota: { limit: 1_000_000, period: 'total' } },
  ])('may be %j', async (limits) => {
    const { user, device } = await makePlainDevice()
    expect((await patchKey(user, device, limits)).body).toMatchObject(limits)
  })

  const BAD: readonly (readonly [Record<string, unknown>, string])[] = [
    [rate(0), '/rate_limit/limit'],
    [rate(-1), '/rate_limit/limit'],
    [rate(1_000_001), '/rate_limit/limit'],
    [rate(1.5), '/rate_limit/limit'],
    [rate(1, 0), '/rate_limit/window_seconds'],
    [rate(1, 86_401), '/rate_limit/window_seconds'],
    [rate(1, 0.5), '/rate_limit/window_seconds'],
    [{ rate_limit: { limit: 5 } }, '/rate_limit/window_seconds'],
    [{ rate_limit: { window_seconds: 5 } }, '/rate_limit/limit'],
    [{ rate_limit: { limit: '5', window_seconds: 5 } }, '/rate_limit/limit'],
    [{ rate_limit: { limit: 5, window_seconds: 5, burst: 1 } }, '/rate_limit/burst'],
    [{ rate_limit: 5 }, '/rate_limit'],
    [{ rate_limit: [] }, '/rate_limit'],
    [{ quota: { limit: 0, period: 'day' } }, '/quota/limit'],
    [{ quota: { limit: 1_000_001, period: 'day' } }, '/quota/limit'],
    [{ quota: { limit: 5, period: 'week' } }, '/quota/period'],
    [{ quota: { limit: 5, period: 'DAY' } }, '/quota/period'],
    [{ quota: { limit: 5 } }, '/quota/period'],
    [{ quota: { limit: 5, period: 'day', window_seconds: 5 } }, '/quota/window_seconds'],
    [{ quota: 'unlimited' }, '/quota'],
    [
      { ...rate(0, 0), quota: { limit: 0, period: 'x' } },
      '/rate_limit/limit /rate_limit/window_seconds /quota/limit /quota/period',
    ],
  ]

  it.each(BAD)('may not be %j', async (limits, list) => {
    const pointers = list.split(' ')
    const { user, device } = await makePlainDevice()
    expectProblem(await patchKey(user, device, limits), 400, 'invalid_request', pointers)
    const keys = `/v1/devices/${device.id}/keys`
    const made = await call('POST', keys, { token: user.token, body: limits })
    expectProblem(made, 400, 'invalid_request', pointers)
    const body = { name: 'another', key: limits }
    const created = await call('POST', '/v1/devices', { token: user.token, body })
    const below = pointers.map((pointer) => `/key${pointer}`)
    expectProblem(created, 400, 'invalid_request', below)
    expect((await get(device.secret)).headers.get('ratelimit-policy')).toBeNull()
  })

  it('are audited as objects, before and after', async () => {
    const user = await makeUser()
    const quota = { limit: 9, period: 'day' }
    const device = await makeLimitedDevice(user, { ...rate(5), quota })
    await patchKey(user, device, rate(6, 90))
    await patchKey(user, device, { quota: { limit: 9, period: 'total' }, name: 'x' })
    await patchKey(user, device, { rate_limit: null, quota: null })
    await patchKey(user, device, { rate_limit: { limit: 1, window_seconds: 1 }, quota: null })
    const [created, ...changes] = await auditOf(user.id)
    expect(JSON.stringify(created?.after)).toContain('"rate_limit":{"limit":5,"window_seconds":60}')
    expect(JSON.stringify(created?.after)).toContain('"quota":{"limit":9,"period":"day"}')
    expect(changes.map(({ action, before, after }) => [action, before, after])).toEqual([
      ['key.updated', rate(5), rate(6, 90)],
      [
        'key.updated',
        { name: 'default', quota },
        { name: 'x', quota: { limit: 9, period: 'total' } },
      ],
      [
        'key.updated',
        { ...rate(6, 90), quota: { limit: 9, period: 'total' } },
        { rate_limit: null, quota: null },
      ],
      ['key.updated', { rate_limit: null, quota: null }, { ...rate(1, 1), quota: null }],
    ])
    const made = await call('POST', `/v1/devices/${device.id}/keys`, {
      token: user.token,
      body: { ...rate(2), quota },
    })
    expect(made.status).toBe(201)
    expect((await auditOf(user.id)).at(-1)).toMatchObject({
      action: 'key.created',
      after: { ...rate(2), quota },
    })
  })
})

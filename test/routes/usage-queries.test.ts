import { afterEach, describe, expect, it, vi } from 'vitest'
import { call, pick } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import {
  fail,
  makeLimitedDevice,
  makePlainDevice,
  setClock,
  stateOf,
  watchStates,
} from '../support/limits.ts'
import { flush, type UsageItem, usageOf } from '../support/usage.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const hour = (text: string) => `2031-03-${text}:00:00.000Z`

const sorted = (items: readonly UsageItem[]) =>
  items.toSorted((one, another) =>
    `${one.start} ${one.key_id}` < `${another.start} ${another.key_id}` ? -1 : 1,
  )

/** A device with a limited and an unlimited key, used over two days. */
async function setUp() {
  setClock(Date.parse(hour('01T22')))
  const user = await makeUser()
  const device = await makeLimitedDevice(user, { quota: { limit: 3, period: 'total' } })
  const made = await call('POST', `/v1/devices/${device.id}/keys`, {
    token: user.token,
    body: {},
  })
  const other = { id: pick(made.body, 'key', 'id'), secret: pick(made.body, 'api_key') }
  const isolate = makeIsolate(Date.now())
  const use = async (at: string, secret: string, times: number) => {
    setClock(Date.parse(at))
    isolate.now = Date.now()
    for (let request = 0; request < times; request += 1) await isolate.codeOf(secret)
    await flush(isolate)
  }
  await use('2031-03-01T22:10:00Z', device.secret, 1)
  await use('2031-03-01T22:59:59.999Z', device.secret, 1)
  await use('2031-03-01T23:00:00Z', device.secret, 3)
  await use('2031-03-01T23:30:00Z', other.secret, 4)
  await use('2031-03-02T00:00:00Z', other.secret, 5)
  const items = {
    at22: { start: hour('01T22'), key_id: device.keyId, allowed: 2, denied: {} },
    at23: {
      start: hour('01T23'),
      key_id: device.keyId,
      allowed: 1,
      denied: { quota_exceeded: 2 },
    },
    other23: { start: hour('01T23'), key_id: other.id, allowed: 4, denied: {} },
    other00: { start: hour('02T00'), key_id: other.id, allowed: 5, denied: {} },
  }
  return { user, device, other, items }
}

describe('GET /v1/devices/{id}/usage', () => {
  it('answers by key and hour in order of time, or by day', async () => {
    const { user, device, other, items } = await setUp()
    const { at22, at23, other23, other00 } = items
    const all = sorted([at22, at23, other23, other00])
    expect(await usageOf(user, device)).toEqual(all)
    expect(await usageOf(user, device, '?interval=hour')).toEqual(all)
    expect(await usageOf(user, device, '?interval=day')).toEqual(
      sorted([
        { ...at23, start: hour('01T00'), allowed: 3 },
        { ...other23, start: hour('01T00') },
        { ...other00, start: hour('02T00'), key_id: other.id },
      ]),
    )
  })

  it('answers for whole hours or days, from one to before the other', async () => {
    const { user, device, items } = await setUp()
    const { at22, at23, other23, other00 } = items
    const ask = async (from: string, to: string, more = '') =>
      await usageOf(
        user,
        device,
        `?from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}${more}`,
      )
    const at23s = sorted([at23, other23])
    expect(await ask(hour('01T23'), hour('02T00'))).toEqual(at23s)
    // Within an hour: the whole of it. Other offsets are the same times.
    expect(await ask('2031-03-01T23:59:59.999Z', hour('02T00'))).toEqual(at23s)
    expect(await ask('2031-03-02T00:30:00+01:00', '2031-03-02T01:00:00+01:00')).toEqual(at23s)
    expect(await ask(hour('01T22'), '2031-03-01T22:00:00.001Z')).toEqual([at22])
    expect(await ask('2031-03-02T00:59:00Z', hour('02T02'))).toEqual([other00])
    expect(await ask('1990-01-01T00:00:00Z', hour('01T22'))).toEqual([])
    const [first] = await ask(hour('02T12'), hour('03T00'), '&interval=day')
    expect(first).toMatchObject({ start: hour('02T00'), allowed: 5 })
  })

  it('looks back a day by hours and 30 days by days where it is not told', async () => {
    const { user, device } = await setUp()
    const at = async (to: string, more = '') => await usageOf(user, device, `?to=${to}${more}`)
    expect(await at('2031-03-02T22:59:59Z')).toHaveLength(4)
    expect(await at('2031-03-02T23:00:00Z')).toHaveLength(3)
    expect(await at('2031-03-31T23:59:59Z', '&interval=day')).toHaveLength(3)
    expect(await at('2031-04-01T00:00:00Z', '&interval=day')).toHaveLength(1)
  })

  it.each([
    ['?from=yesterday', '/from'],
    ['?from=2031-03-01', '/from'],
    ['?to=1700000000', '/to'],
    ['?to=2031-02-30T00:00:00Z', '/to'],
    ['?interval=minute', '/interval'],
    ['?interval=', '/interval'],
    ['?key=x', '/key'],
    ['?from=2031-03-02T00:00:00Z&to=2031-03-02T00:00:00Z', '/from'],
    ['?from=2031-03-02T00:00:01Z&to=2031-03-02T00:00:00Z', '/from'],
  ])('refuses %s', async (query, pointer) => {
    const { user, device } = await makePlainDevice()
    const path = `/v1/devices/${device.id}/usage${query}`
    const answer = await call('GET', path, { token: user.token })
    expectProblem(answer, 400, 'invalid_request', [pointer])
  })

  it('is a 404 of another’s device, and the object is not asked', async () => {
    const { device } = await makePlainDevice()
    const { token } = await makeUser()
    const { env: watched, calls } = watchStates()
    for (const id of [device.id, 'dev_00000000000000000000000000']) {
      const answer = await call('GET', `/v1/devices/${id}/usage`, { token, env: watched })
      expectProblem(answer, 404, 'not_found')
    }
    expect(calls).toEqual([])
  })

  it('is a 503 where the object does not answer', async () => {
    const { user, device } = await makePlainDevice()
    const { env: failing } = watchStates(fail)
    vi.spyOn(console, 'error').mockReturnValue()
    const path = `/v1/devices/${device.id}/usage`
    const answer = await call('GET', path, { token: user.token, env: failing })
    expectProblem(answer, 503, 'unavailable')
    expect(await stateOf(device).usage('hour', 0, Date.now())).toEqual([])
  })
})

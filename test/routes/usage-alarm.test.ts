import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { call, pick } from '../support/client.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { chargeOf, makeLimitedDevice, patchKey, setClock, stateOf } from '../support/limits.ts'
import { execute, rowsOf } from '../support/rows.ts'
import { countUse, flush, freshToken } from '../support/usage.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const DAY = Date.UTC(2031, 2, 1)
const NOON = DAY + 12 * HOUR_MS + 34 * 60_000 + 56_789

const iso = (time: number) => new Date(time).toISOString()
const dayOf = (time: number) => iso(time).slice(0, 10)
async function read(user: TestUser, path: string): Promise<unknown> {
  const { status, body } = await call('GET', path, { token: await freshToken(user) })
  expect(status).toBe(200)
  return body
}

/** Uses a secret once, and hands the count on. */
async function use(secret: string, at: number, scopes: readonly string[] = []) {
  setClock(at)
  const isolate = makeIsolate(at)
  await isolate.codeOf(secret, { scopes })
  await flush(isolate)
}

const alarmOf = async (device: { readonly id: string }) =>
  await runInDurableObject(stateOf(device), async (_, { storage }) => await storage.getAlarm())

/** What D1 knows of the last use, which the device list shows. */
async function listed(user: TestUser): Promise<unknown> {
  const { text } = await call('GET', '/v1/devices', { token: await freshToken(user) })
  const { items }: { items: { last_used_on: unknown }[] } = JSON.parse(text)
  return items[0]?.last_used_on
}

beforeEach(() => setClock(NOON))
afterEach(() => void vi.useRealTimers())

const KINDS = [
  ['an unlimited key', {}],
  ['a limited key', { quota: { limit: 2, period: 'month' } }],
] as const

describe.each(KINDS)('last_used_at of %s', (_, limits) => {
  it('is on device, key and secret, to the minute', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const keys = `/v1/devices/${device.id}/keys`
    const unused = { last_used_at: null, secrets: [{ last_used_at: null }] }
    expect(await read(user, `${keys}/${device.keyId}`)).toMatchObject(unused)
    expect(await read(user, `/v1/devices/${device.id}`)).toMatchObject({ last_used_at: null })

    await use(device.secret, NOON)
    const minute = { last_used_at: iso(DAY + 12 * HOUR_MS + 34 * 60_000) }
    const used = { ...minute, secrets: [minute] }
    expect(await read(user, `${keys}/${device.keyId}`)).toMatchObject(used)
    expect(await read(user, keys)).toMatchObject({ items: [used] })
    expect(await read(user, `/v1/devices/${device.id}`)).toMatchObject(minute)

    await evictDurableObject(stateOf(device))
    expect(await read(user, `${keys}/${device.keyId}`)).toMatchObject(used)
  })

  it('is moved by the next use, and not by what is refused', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    await use(device.secret, NOON)
    await use(device.secret, NOON + 60_000)
    const next = { last_used_at: iso(DAY + 12 * HOUR_MS + 35 * 60_000) }
    await use(device.secret, NOON + 120_000, ['not:held'])
    if ('quota' in limits) await use(device.secret, NOON + 180_000)
    expect(await read(user, `/v1/devices/${device.id}`)).toMatchObject(next)
  })

  it('is told apart by secret while a rotation overlaps', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const path = `/v1/devices/${device.id}/keys/${device.keyId}`
    await use(device.secret, NOON)
    const minute = iso(NOON - (NOON % 60_000))
    const body = { overlap_seconds: 600 }
    const rotated = await call('POST', `${path}/rotate`, { token: await freshToken(user), body })
    const second = pick(rotated.body, 'api_key')
    const later = NOON + 120_000
    await use(second, later)
    const newer = iso(later - (later % 60_000))
    expect(await read(user, path)).toMatchObject({
      last_used_at: newer,
      secrets: [{ last_used_at: newer }, { last_used_at: minute }],
    })
  })

  it('stays the key’s when a rotation ends the secret that was used', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const path = `/v1/devices/${device.id}/keys/${device.keyId}`
    await use(device.secret, NOON)
    await call('POST', `${path}/rotate`, { token: await freshToken(user), body: {} })
    const minute = iso(NOON - (NOON % 60_000))
    expect(await read(user, `/v1/devices/${device.id}`)).toMatchObject({ last_used_at: minute })
    expect(await read(user, path)).toMatchObject({
      last_used_at: minute,
      secrets: [{ last_used_at: null }],
    })
  })
})

describe.each(KINDS)('the alarm of the object of %s', (_, limits) => {
  it('tells D1 the day, once a day on which the device is used, within an hour', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    expect(await alarmOf(device)).toBeNull()
    expect(await listed(user)).toBeNull()

    await use(device.secret, NOON)
    const alarm = await alarmOf(device)
    expect(alarm).toBeGreaterThanOrEqual(NOON)
    expect(alarm).toBeLessThan(NOON + HOUR_MS)
    expect(await listed(user)).toBeNull()
    setClock(NOON + HOUR_MS)
    expect(await runDurableObjectAlarm(stateOf(device))).toBe(true)
    expect(await listed(user)).toBe(dayOf(DAY))
    expect(await alarmOf(device)).toBe(NOON + HOUR_MS + 30 * DAY_MS)

    // More of the same day changes nothing.
    await use(device.secret, NOON + 2 * HOUR_MS)
    expect(await alarmOf(device)).toBe(NOON + HOUR_MS + 30 * DAY_MS)

    await execute(
      'update api_keys set quota_limit = 3 where id = ? and quota_limit > 0',
      device.keyId,
    )
    await evictDurableObject(stateOf(device))
    await use(device.secret, DAY + DAY_MS)
    const next = await alarmOf(device)
    expect(next).toBeGreaterThanOrEqual(DAY + DAY_MS)
    expect(next).toBeLessThan(DAY + DAY_MS + HOUR_MS)
    setClock(DAY + DAY_MS + HOUR_MS)
    await runDurableObjectAlarm(stateOf(device))
    expect(await listed(user)).toBe(dayOf(DAY + DAY_MS))
  })

  it('is not moved by what is refused after a use of the same day', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    await use(device.secret, NOON)
    const asked = await alarmOf(device)
    await use(device.secret, NOON, ['not:held'])
    expect(await alarmOf(device)).toBe(asked)
    setClock(NOON + HOUR_MS)
    await runDurableObjectAlarm(stateOf(device))
    await use(device.secret, NOON + 2 * HOUR_MS, ['not:held'])
    expect(await alarmOf(device)).toBe(NOON + HOUR_MS + 30 * DAY_MS)
  })

  it('tells of a day on which the device was first refused, and used after that', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    await patchKey(user, device, { enabled: false })
    await use(device.secret, NOON)
    setClock(NOON + HOUR_MS)
    await runDurableObjectAlarm(stateOf(device))
    expect(await listed(user)).toBeNull()

    await execute('update api_keys set disabled_at = null where id = ?', device.keyId)
    await use(device.secret, NOON + 2 * HOUR_MS)
    setClock(NOON + 4 * HOUR_MS)
    const alarm = await alarmOf(device)
    if (alarm !== null && alarm <= Date.now()) await runDurableObjectAlarm(stateOf(device))
    expect(await listed(user)).toBe(dayOf(DAY))
  })
})

describe('the alarm', () => {
  it('comes at another time for each device: a fleet that wakes at once is spread', async () => {
    const alarms = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const id = newId('dev')
        await stateOf({ id }).charge(id, chargeOf({}, { counts: true }))
        return await runInDurableObject(stateOf({ id }), async (_, { storage }) =>
          Number(await storage.getAlarm()),
        )
      }),
    )
    expect(new Set(alarms).size).toBeGreaterThan(25)
    expect(Math.max(...alarms) - Math.min(...alarms)).toBeGreaterThan(HOUR_MS / 2)
  })

  it('is not set where nothing is counted', async () => {
    const device = { id: newId('dev') }
    await stateOf(device).charge(device.id, chargeOf({}, { counts: false }))
    expect(await alarmOf(device)).toBeNull()
  })

  it('never takes a later day back, and leaves a deleted device alone', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, {})
    await use(device.secret, NOON)
    await execute('update devices set last_used_at = ? where id = ?', DAY + DAY_MS, device.id)
    await runDurableObjectAlarm(stateOf(device))
    expect(await listed(user)).toBe(dayOf(DAY + DAY_MS))
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    await use(device.secret, NOON + DAY_MS)
    await runDurableObjectAlarm(stateOf(device))
    expect(await rowsOf('select id from devices where id = ?', device.id)).toEqual([])
  })

  it('forgets hours after 90 days and days after two years, and rests when nothing is left', async () => {
    const device = { id: newId('dev') }
    const stub = stateOf(device)
    const kept = async (interval: 'hour' | 'day') =>
      (await stub.usage(interval, 0, Date.now() + DAY_MS)).map(({ start }) => start)
    const first = DAY + 5 * HOUR_MS
    for (const at of [first, first + HOUR_MS, DAY + 10 * DAY_MS]) {
      setClock(at)
      await countUse(device.id, at)
    }
    const runAlarm = async (at: number) => {
      setClock(at)
      expect(await runDurableObjectAlarm(stub)).toBe(true)
    }
    await runAlarm(first + 90 * DAY_MS)
    expect(await kept('hour')).toEqual([first, first + HOUR_MS, DAY + 10 * DAY_MS])
    await runAlarm(first + 90 * DAY_MS + 1)
    expect(await kept('hour')).toEqual([first + HOUR_MS, DAY + 10 * DAY_MS])
    expect(await kept('day')).toEqual([DAY, DAY + 10 * DAY_MS])
    await runAlarm(DAY + 730 * DAY_MS)
    expect(await kept('hour')).toEqual([])
    expect(await kept('day')).toEqual([DAY, DAY + 10 * DAY_MS])
    await runAlarm(DAY + 730 * DAY_MS + 1)
    expect(await kept('day')).toEqual([DAY + 10 * DAY_MS])
    await runAlarm(DAY + 740 * DAY_MS + 1)
    expect(await kept('day')).toEqual([])
    expect(await runDurableObjectAlarm(stub)).toBe(false)
  })
})

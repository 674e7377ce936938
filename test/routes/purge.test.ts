import { env } from 'cloudflare:workers'
import { createScheduledController, evictDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import worker from '../../src/index.ts'
import { runScheduled } from '../../src/scheduled.ts'
import { emptyDeletedDevices } from '../../src/services/devices/empty-deleted-devices.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { call } from '../support/client.ts'
import { makeUser, PASSWORD, setCheapPassword, type TestUser } from '../support/fixtures.ts'
import { contextAt, makeIsolate } from '../support/isolates.ts'
import {
  chargeOf,
  fail,
  KEY_KINDS,
  makeLimitedDevice,
  setClock,
  stateOf,
  watchStates,
} from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { contentsOf, NOTHING } from '../support/objects.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { flush } from '../support/usage.ts'

const STALE_MS = 300_000
/** KEY_STALE_SECONDS and a minute for work after responses. */
const DUE_MS = STALE_MS + 60_000

const QUOTA = { limit: 5, period: 'total' } as const

/** A device whose object holds all that an object can hold. */
async function makeBusyDevice(user: TestUser) {
  const device = await makeLimitedDevice(user, { quota: QUOTA })
  const body = { report: { ok: true } }
  await call('POST', '/v1/device/check-ins', { token: device.secret, body })
  const isolate = makeIsolate(Date.now())
  await isolate.codeOf(device.secret)
  await isolate.codeOf(device.secret, { scopes: ['a'] })
  await flush(isolate)
  // What a limited key has counted goes to the other tables when it is read.
  await stateOf(device).lastUses()
  return device
}

const EVERYTHING = {
  filled: ['check_in', 'facts', 'last_used', 'meters', 'usage_days', 'usage_hours'],
  hasAlarm: true,
}

const deletedAt = async (id: string) => {
  const [row] = await rowsOf('select at from purges where device_id = ?', id)
  return Number(row?.['at'])
}

const purge = async (now: number, states = env.DEVICE_STATE) =>
  (await emptyDeletedDevices(contextAt(now, { states }))).done

afterEach(async () => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  await execute('delete from purges')
})

describe('the object of a deleted device', () => {
  it('is emptied when nobody can speak for it any more, and not earlier', async () => {
    const user = await makeUser()
    const device = await makeBusyDevice(user)
    const bystander = await makeBusyDevice(user)
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    const at = await deletedAt(device.id)
    expect(await purge(at + DUE_MS)).toBe(0)
    expect(await contentsOf(device)).toEqual(EVERYTHING)
    expect(await purge(at + DUE_MS + 1)).toBe(1)
    expect(await contentsOf(device)).toEqual(NOTHING)
    expect(await countRows('purges', 'device_id = ?', device.id)).toBe(0)
    expect(await purge(at + DUE_MS + 1)).toBe(0)
    expect(await contentsOf(bystander)).toEqual(EVERYTHING)
  })

  it('answers as a new one does afterwards, alive or evicted', async () => {
    const user = await makeUser()
    for (const isEvicted of [false, true]) {
      const device = await makeBusyDevice(user)
      await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
      await purge((await deletedAt(device.id)) + DUE_MS + 1)
      if (isEvicted) await evictDurableObject(stateOf(device))
      const stub = stateOf(device)
      expect(await stub.lastCheckIn()).toBeUndefined()
      expect(await stub.usage('hour', 0, Date.now() + 1)).toEqual([])
      expect(await stub.lastUses()).toEqual([])
      const request = chargeOf({ quota: QUOTA }, { keyId: device.keyId, counts: true })
      expect(await stub.charge(device.id, request)).toMatchObject({ quota: { remaining: 4 } })
      expect(await stub.checkIn(null)).toMatchObject({ receivedAt: expect.any(Number) })
    }
  })

  it('is emptied with what came late: a flush, a stale isolate', async () => {
    const user = await makeUser()
    const device = await makeBusyDevice(user)
    const stale = makeIsolate(Date.now())
    expect(await stale.codeOf(device.secret)).toBe('valid')
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    const at = await deletedAt(device.id)
    expect(await stale.codeOf(device.secret)).toBe('valid')
    expect(await stale.codeOf(device.secret, { scopes: ['a'] })).toBe('insufficient_scope')
    await flush(stale)
    await purge(at + DUE_MS + 1)
    expect(await contentsOf(device)).toEqual(NOTHING)
  })

  it('is emptied too where the account was deleted', async () => {
    const user = await makeUser()
    await setCheapPassword(user, PASSWORD)
    const devices = [await makeBusyDevice(user), await makeBusyDevice(user)]
    const body = { current_password: PASSWORD }
    expect((await call('DELETE', '/v1/me', { token: user.token, body })).status).toBe(204)
    const at = await deletedAt(devices[0]?.id ?? '')
    expect(await purge(at + DUE_MS + 1)).toBe(2)
    for (const device of devices) expect(await contentsOf(device)).toEqual(NOTHING)
  })
})

describe('a run of the scheduled handler', () => {
  it('goes by KEY_STALE_SECONDS, and says how many it emptied', async () => {
    const user = await makeUser()
    const device = await makeBusyDevice(user)
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    const at = await deletedAt(device.id)
    const lines = captureConsole()
    const emptied = () => eventsOf(lines, 'cron').filter(({ job }) => job === 'empty-devices')
    setClock(at + 3_600_000 + 60_000)
    await runScheduled({ ...env, KEY_STALE_SECONDS: '3600' })
    expect(await contentsOf(device)).toEqual(EVERYTHING)
    expect(emptied()).toEqual([])

    setClock(at + DUE_MS)
    await runScheduled(env)
    expect(await contentsOf(device)).toEqual(EVERYTHING)
    setClock(at + DUE_MS + 1)
    await worker.scheduled(createScheduledController(), env)
    expect(await contentsOf(device)).toEqual(NOTHING)
    expect(emptied()).toEqual([{ event: 'cron', job: 'empty-devices', done: 1 }])
  })

  it('works in slices of 32, and takes those first that have waited longest', async () => {
    const ids = Array.from({ length: 90 }, () => newId('dev'))
    for (const [index, id] of ids.entries()) {
      await execute('insert into purges (device_id, at) values (?, ?)', id, 90 - index)
    }
    const { states, calls } = watchStates()
    const emptied = []
    for (let run = 0; run < 4; run += 1) emptied.push(await purge(Date.now(), states))
    expect(emptied).toEqual([32, 32, 26, 0])
    const order = calls.map(({ deviceId }) => deviceId)
    expect(new Set(order.slice(0, 32))).toEqual(new Set(ids.slice(-32)))
    expect(new Set(order)).toEqual(new Set(ids))
    expect(new Set(calls.map(({ method }) => method))).toEqual(new Set(['empty']))
    expect(await countRows('purges', '1 = 1')).toBe(0)
  })

  it('tries again what failed, and empties the others meanwhile', async () => {
    const ids = ['one', 'two', 'three'].map(() => newId('dev'))
    for (const id of ids) {
      await stateOf({ id }).checkIn(null)
      await execute('insert into purges (device_id, at) values (?, 1)', id)
    }
    const [, broken = ''] = ids
    const { states } = watchStates(({ deviceId }) => (deviceId === broken ? fail() : undefined))
    expect(await purge(Date.now(), states)).toBe(2)
    expect(await rowsOf('select device_id from purges')).toEqual([{ device_id: broken }])
    expect(await contentsOf({ id: broken })).toMatchObject({ filled: ['check_in'] })
    // It waits behind the others, so that what always fails holds nobody up.
    const next = Date.now() + DUE_MS + 1000
    expect(await purge(Date.now())).toBe(0)
    expect(await purge(next, states)).toBe(0)
    expect(await purge(next + DUE_MS + 1)).toBe(1)
    for (const id of ids) expect(await contentsOf({ id })).toEqual(NOTHING)
    expect(await countRows('purges', '1 = 1')).toBe(0)
  })
})

describe('the emptied object of a deleted device', () => {
  it.each(KEY_KINDS)('that had %s stays empty, whoever presents what', async (_, limits) => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const token = await fetchToken(device)
    const isolate = makeIsolate(Date.now())
    for (const presented of [device.secret, token]) {
      expect(await isolate.codeOf(presented)).toBe('valid')
    }
    await flush(isolate)
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    const at = await deletedAt(device.id)
    // Isolates that know it from before, or not at all; within the token's life, and a year later.
    for (const late of [DUE_MS + 1, 365 * 86_400_000]) {
      await purge(at + late)
      for (const asking of [isolate, makeIsolate(0)]) {
        asking.now = at + late
        for (const presented of [device.secret, token]) {
          for (const request of [{}, { scopes: ['a'] }, { cost: 0 }, { fresh: true }]) {
            expect(await asking.codeOf(presented, request)).toMatch(/^(revoked|expired)$/)
          }
        }
        await flush(asking)
      }
      expect(await contentsOf(device)).toEqual(NOTHING)
    }
  })
})

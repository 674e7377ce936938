import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { IsolateState } from '../../src/isolate/state.ts'
import { newId } from '../../src/crypto/ids.ts'
import { flushUsage } from '../../src/services/verify/count-usage.ts'
import { makeIsolate } from '../support/isolates.ts'
import { atOnce, fail, hang, makePlainDevice, stateOf, watchStates } from '../support/limits.ts'
import { flush, totalsOf } from '../support/usage.ts'

const FLUSH_INTERVAL_MS = 20_000
/** Short enough that the counts are in the buffer again before the platform ends the flush. */
const OBJECT_TIMEOUT_MS = 5000

/** A buffer that holds a count for each of so many devices, in this order. */
function bufferFor(devices: number) {
  const ids = Array.from({ length: devices }, () => newId('dev'))
  const isolate = new IsolateState()
  const buffer = isolate.usage
  for (const id of ids) {
    buffer.add(id, {
      keyId: 'key',
      secretHash: 'hash',
      outcome: 'allowed',
      count: 1,
      at: Date.now(),
    })
  }
  return { ids, buffer, isolate }
}

/** How many verifies the object of a device has counted. */
async function countedBy(id: string): Promise<number> {
  const rows = await stateOf({ id }).usage('day', 0, Date.now() + 1)
  return rows.reduce((sum, { count }) => sum + count, 0)
}

/** Holds back the waiting of flushes; `release` ends it. Other waits go on as ever. */
function holdFlushes() {
  const { promise, resolve } = Promise.withResolvers<void>()
  const wait = scheduler.wait.bind(scheduler)
  const waited: number[] = []
  vi.spyOn(scheduler, 'wait').mockImplementation(async (ms, options) => {
    if (ms !== FLUSH_INTERVAL_MS) return await wait(ms, options)
    waited.push(ms)
    return await promise
  })
  return { waited, release: resolve }
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('the flush of usage', () => {
  it('comes 20 s after the first verify, for all of them, with one call to a device', async () => {
    const { user, device } = await makePlainDevice()
    const other = await makePlainDevice()
    const { waited, release } = holdFlushes()
    const isolate = makeIsolate(Date.now())
    const { states, calls } = watchStates()
    isolate.states = states
    await atOnce(25, async () => await isolate.codeOf(device.secret))
    await atOnce(5, async () => await isolate.codeOf(other.device.secret))
    await isolate.codeOf(device.secret, { scopes: ['a'] })
    // All were answered, and nothing waited for the object.
    expect(calls).toEqual([])
    expect(waited).toEqual([FLUSH_INTERVAL_MS])
    release()
    await vi.waitFor(async () =>
      expect(await totalsOf(user, device)).toEqual({ allowed: 25, insufficient_scope: 1 }),
    )
    expect(await totalsOf(other.user, other.device)).toEqual({ allowed: 5 })
    expect(calls.map(({ method, deviceId }) => `${method} ${deviceId}`)).toEqual([
      `count ${device.id}`,
      `count ${other.device.id}`,
    ])
  })

  it('is armed again after it ran, and after 30 s if it never did', async () => {
    const { device } = await makePlainDevice()
    const { waited, release } = holdFlushes()
    const isolate = makeIsolate(Date.now())
    const { states, calls } = watchStates()
    isolate.states = states
    const start = isolate.now
    const verifyAt = async (later: number) => {
      isolate.now = start + later
      await isolate.codeOf(device.secret)
      return waited.length
    }
    expect(await verifyAt(0)).toBe(1)
    expect(await verifyAt(29_999)).toBe(1)
    // The request that promised the first one is gone: the platform ends it at 30 s.
    expect(await verifyAt(30_000)).toBe(2)
    expect(await verifyAt(30_001)).toBe(2)
    release()
    await vi.waitFor(() => expect(calls).toHaveLength(1))
    expect(await verifyAt(30_002)).toBe(3)
  })

  it('is 40 objects at most; the rest goes with the next', async () => {
    const { ids, isolate } = bufferFor(95)
    const { states, calls } = watchStates()
    const called: number[] = []
    for (let round = 0; round < 4; round += 1) {
      await flushUsage({ states, isolate })
      called.push(calls.length)
    }
    expect(called).toEqual([40, 80, 95, 95])
    expect(calls.map(({ deviceId }) => deviceId)).toEqual(ids)
    const counted = await Promise.all(ids.map(countedBy))
    expect(counted).toEqual(ids.map(() => 1))
  })

  it('keeps what an object did not take for the next, and hands on the others’', async () => {
    const { ids, buffer, isolate } = bufferFor(5)
    const broken = new Set(ids.slice(1, 3))
    const { states } = watchStates(({ deviceId }) => (broken.has(deviceId) ? fail() : undefined))
    await flushUsage({ states, isolate })
    expect(await Promise.all(ids.map(countedBy))).toEqual([1, 0, 0, 1, 1])
    // Meanwhile more comes.
    for (const id of ids) {
      buffer.add(id, {
        keyId: 'key',
        secretHash: 'hash',
        outcome: 'allowed',
        count: 2,
        at: Date.now(),
      })
    }
    await flushUsage({ states, isolate })
    expect(await Promise.all(ids.map(countedBy))).toEqual([3, 0, 0, 3, 3])
    await flushUsage({ states: env.DEVICE_STATE, isolate })
    await flushUsage({ states: env.DEVICE_STATE, isolate })
    expect(await Promise.all(ids.map(countedBy))).toEqual([3, 3, 3, 3, 3])
  })

  it('waits 5 s for an object that hangs, and keeps its counts for the next', async () => {
    const { ids, isolate } = bufferFor(1)
    const wait = scheduler.wait.bind(scheduler)
    const waited: number[] = []
    vi.spyOn(scheduler, 'wait').mockImplementation(async (ms) => {
      waited.push(ms)
      await wait(0)
    })
    const flushed = flushUsage({ states: watchStates(hang).states, isolate })
    const hung = wait(2000).then(() => 'hung')
    expect(await Promise.race([flushed, hung])).toBeUndefined()
    expect(waited).toEqual([OBJECT_TIMEOUT_MS])
    vi.restoreAllMocks()
    await flushUsage({ states: env.DEVICE_STATE, isolate })
    expect(await Promise.all(ids.map(countedBy))).toEqual([1])
  })

  it('loses nothing of what is counted while it runs', async () => {
    const { user, device } = await makePlainDevice()
    const isolate = makeIsolate(Date.now())
    await isolate.codeOf(device.secret)
    for (let round = 0; round < 10; round += 1) {
      const verifies = atOnce(20, async () => await isolate.codeOf(device.secret))
      await Promise.all([flush(isolate), verifies, flush(isolate)])
    }
    await flush(isolate)
    expect(await totalsOf(user, device)).toEqual({ allowed: 201 })
  })
})

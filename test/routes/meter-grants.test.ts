import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import type { DeviceState } from '../../src/device-state/device-state.ts'
import { GrantedCharges } from '../../src/device-state/granted-charges.ts'
import type { ChargeRequest } from '../../src/device-state/meter-store.ts'
import { atOnce, chargeOf, setClock, stateOf } from '../support/limits.ts'

const policy = {
  rateLimit: { limit: 1000, windowSeconds: 3600 },
  quota: { limit: 1000, period: 'total' },
} as const
const START = Date.UTC(2030, 5, 1, 12)
const MINUTE_MS = 60_000

/** A granted charge, after which each limit has this much left. */
const left = (remaining: number) => ({
  refusedBy: null,
  rateLimit: { remaining },
  quota: { remaining },
})

/** A charge as isolates of the version before ask for it. */
const withoutId = () => JSON.parse(JSON.stringify({ ...chargeOf(policy), id: undefined }))

/** The object of a device that has nothing else. */
function fresh() {
  const device = { id: newId('dev') }
  const charge = async (request: ChargeRequest) => await stateOf(device).charge(device.id, request)
  const evict = async () => {
    await evictDurableObject(stateOf(device))
  }
  /** The row of the only key, as text; or what a statement makes of it. */
  const row = async (expression = 'state') =>
    await runInDurableObject(stateOf(device), (_, { storage }) => {
      const rows = storage.sql.exec<{ text: string }>(`select ${expression} as text from meters`)
      return rows.one().text
    })
  return { device, charge, evict, row }
}

afterEach(() => {
  vi.useRealTimers()
})

describe('a charge that comes twice under one id', () => {
  it('is spent and counted once, and the second answer says how the limits stand', async () => {
    const { device, charge } = fresh()
    const request = chargeOf(policy, { counts: true })
    expect(await charge(request)).toMatchObject(left(999))
    expect(await charge(request)).toMatchObject(left(999))
    await charge(chargeOf(policy, { counts: true }))
    expect(await charge(request)).toMatchObject(left(998))
    const usage = await stateOf(device).usage('hour', 0, Date.now() + 1)
    expect(usage).toMatchObject([{ outcome: 'allowed', count: 2 }])
  })

  it('is not taken for one that a clock granted which was a year ahead', async () => {
    const { charge } = fresh()
    const request = chargeOf(policy)
    setClock(START + 365 * 24 * 60 * MINUTE_MS)
    expect(await charge(request)).toMatchObject(left(999))
    setClock(START)
    expect(await charge(request)).toMatchObject(left(998))
  })

  it('is spent once when both calls come at the same time', async () => {
    const { charge } = fresh()
    const request = chargeOf(policy)
    const answers = await atOnce(2, () => charge(request))
    expect(answers).toMatchObject([left(999), left(999)])
    expect(await charge(chargeOf(policy))).toMatchObject(left(998))
  })

  it('is granted again although the limit is used up meanwhile', async () => {
    const { charge } = fresh()
    const full = { quota: { limit: 1, period: 'total' } } as const
    const request = chargeOf(full)
    expect(await charge(request)).toMatchObject({ refusedBy: null, quota: { remaining: 0 } })
    expect(await charge(chargeOf(full))).toMatchObject({ refusedBy: 'quota_exceeded' })
    expect(await charge(request)).toMatchObject({ refusedBy: null, quota: { remaining: 0 } })
  })

  it('is charged the second time if the first time it was refused', async () => {
    const { charge } = fresh()
    setClock(START)
    const tight = { rateLimit: { limit: 1, windowSeconds: 1 } }
    await charge(chargeOf(tight))
    const request = chargeOf(tight)
    expect(await charge(request)).toMatchObject({ refusedBy: 'rate_limited' })
    setClock(START + 1000)
    expect(await charge(request)).toMatchObject({ refusedBy: null })
    expect(await charge(chargeOf(tight))).toMatchObject({ refusedBy: 'rate_limited' })
  })

  it('writes one row the first time and none the second time', async () => {
    const { device, charge } = fresh()
    await charge(chargeOf(policy, { counts: true }))
    const request = chargeOf(policy, { counts: true })
    const written = await runInDurableObject(
      stateOf(device),
      async (instance: DeviceState, { storage: { sql } }) => {
        const total = () => sql.exec<{ n: number }>('select total_changes() as n').one().n
        const totals = [total()]
        for (let time = 0; time < 2; time += 1) {
          await instance.charge(device.id, request)
          totals.push(total())
        }
        return totals.map((n, index) => n - (totals[index - 1] ?? n))
      },
    )
    expect(written).toEqual([0, 1, 0])
  })

  it('is two charges if the keys are two', async () => {
    const { charge } = fresh()
    const request = chargeOf(policy)
    expect(await charge(request)).toMatchObject(left(999))
    const other = { ...request, keyId: 'another_key' }
    expect(await charge(other)).toMatchObject(left(999))
    expect(await charge(chargeOf(policy, { keyId: 'another_key' }))).toMatchObject(left(998))
  })

  it('is two charges if neither has an id, as from an isolate of the version before', async () => {
    const { charge } = fresh()
    expect(await charge(withoutId())).toMatchObject(left(999))
    expect(await charge(withoutId())).toMatchObject(left(998))
  })
})

describe('the ids of granted charges', () => {
  it('are known for a minute, and then neither to the object nor in its row', async () => {
    const { charge, row } = fresh()
    const request = chargeOf(policy)
    setClock(START)
    await charge(request)
    setClock(START + MINUTE_MS - 1)
    expect(await charge(request)).toMatchObject(left(999))
    expect(await row()).toContain(request.id)
    setClock(START + MINUTE_MS)
    const next = chargeOf(policy)
    expect(await charge(next)).toMatchObject(left(998))
    expect(await row()).not.toContain(request.id)
    expect(await row()).toContain(next.id)
    expect(await charge(request)).toMatchObject(left(997))
  })

  it('are still known after an eviction, and forgotten when their time is over', async () => {
    const { charge, evict } = fresh()
    const request = chargeOf(policy)
    setClock(START)
    await charge(request)
    for (const later of [1, MINUTE_MS - 1]) {
      await evict()
      setClock(START + later)
      expect(await charge(request)).toMatchObject(left(999))
    }
    await evict()
    setClock(START + MINUTE_MS)
    expect(await charge(request)).toMatchObject(left(998))
  })

  it('are all in memory, and the newest 32 in the row, which stays small', async () => {
    const { charge, evict, row } = fresh()
    const requests = Array.from({ length: 200 }, () => chargeOf(policy))
    await Promise.all(requests.map(charge))
    await Promise.all(requests.map(charge))
    expect(await charge(chargeOf(policy, { cost: 0 }))).toMatchObject(left(800))
    expect(await row("json_array_length(state, '$.grants')")).toBe(32)
    expect((await row("state -> '$.grants'")).length).toBeLessThan(1100)
    await evict()
    // The one that cost nothing is the newest of the 32.
    await Promise.all(requests.slice(-31).map(charge))
    expect(await charge(chargeOf(policy, { cost: 0 }))).toMatchObject(left(800))
  })

  it('are at most 60 000 in memory, and the oldest goes first', () => {
    const granted = new GrantedCharges()
    for (let id = 0; id <= 60_000; id += 1) granted.add('key', [String(id), START])
    const has = (id: number) => granted.has('key', String(id), START)
    expect([has(0), has(1), has(60_000)]).toEqual([false, true, true])
  })

  it('may be missing from a row that an earlier version wrote: its meter counts on', async () => {
    const { device, charge, evict } = fresh()
    await charge(chargeOf(policy))
    await runInDurableObject(stateOf(device), (_, { storage }) => {
      storage.sql.exec("update meters set state = json_remove(state, '$.grants')")
    })
    await evict()
    const request = chargeOf(policy)
    expect(await charge(request)).toMatchObject(left(998))
    expect(await charge(request)).toMatchObject(left(998))
  })
})

import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import type { DeviceState } from '../../src/device-state/device-state.ts'
import { chargeOf, setClock, stateOf } from '../support/limits.ts'

const policy = { quota: { limit: 5, period: 'total' } } as const

/** A device of which only the object is used, and a charge of its key. */
function fresh() {
  const device = { id: newId('dev') }
  const charge = async () => await stateOf(device).charge(device.id, chargeOf(policy))
  return { device, charge }
}

describe('the memory of the meters', () => {
  it('is not ahead of storage: a charge that could not be written has spent nothing', async () => {
    const { device, charge } = fresh()
    await charge()
    const failed = await runInDurableObject(
      stateOf(device),
      async (instance: DeviceState, { storage: { sql } }) => {
        sql.exec(
          `create trigger full before insert on meters
           begin select raise(fail, 'the disk is full'); end`,
        )
        const charged = await instance.charge(device.id, chargeOf(policy)).catch(String)
        sql.exec('drop trigger full')
        return charged
      },
    )
    expect(failed).toMatch('the disk is full')
    expect(await charge()).toMatchObject({ quota: { remaining: 3 } })
  })

  it('brings no row back after a deletion: a call in the middle of it is forgotten', async () => {
    const { device, charge } = fresh()
    await charge()
    await charge()
    await runInDurableObject(stateOf(device), async (instance: DeviceState) => {
      const emptied = instance.empty()
      expect(await instance.charge(device.id, chargeOf(policy))).toMatchObject({
        quota: { remaining: 2 },
      })
      await emptied
    })
    expect(await charge()).toMatchObject({ quota: { remaining: 4 } })
  })
})

describe('a meter that says nothing any more', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('is forgotten by the alarm, and the next charge finds all that the limit allows', async () => {
    const device = { id: newId('dev') }
    const ended = { rateLimit: { limit: 2, windowSeconds: 60 } }
    const charge = async (keyId: string, limits: object) =>
      await stateOf(device).charge(device.id, chargeOf(limits, { keyId, counts: true }))
    const metersOf = async () =>
      await runInDurableObject(stateOf(device), (_, { storage }) =>
        storage.sql.exec('select key_id from meters order by key_id').toArray(),
      )
    const start = Date.now()
    await charge('key_ended', ended)
    await charge('key_total', policy)
    await runDurableObjectAlarm(stateOf(device))
    expect(await metersOf()).toEqual([{ key_id: 'key_ended' }, { key_id: 'key_total' }])
    setClock(start + 2 * 86_400_000)
    await charge('key_total', policy)
    await runDurableObjectAlarm(stateOf(device))
    expect(await metersOf()).toEqual([{ key_id: 'key_total' }])
    expect(await charge('key_ended', ended)).toMatchObject({ rateLimit: { remaining: 1 } })
    expect(await charge('key_total', policy)).toMatchObject({ quota: { remaining: 2 } })
  })
})

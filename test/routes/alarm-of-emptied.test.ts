import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import type { DeviceState } from '../../src/device-state/device-state.ts'
import { chargeOf, stateOf } from '../support/limits.ts'
import { contentsOf, NOTHING, tablesOf } from '../support/objects.ts'
import { tapDatabase } from '../support/tapping.ts'
import { countUse } from '../support/usage.ts'

/**
 * Runs the alarm of an object that was used, and an act while the alarm waits for D1. It says how
 * the alarm ended.
 */
async function whileAlarmWaits(id: string, act: (object: DeviceState) => Promise<unknown>) {
  await countUse(id, Date.now())
  return await runInDurableObject(stateOf({ id }), async (object: DeviceState) => {
    let hasActed = false
    const slow = tapDatabase(env.DB, async (_, run) => {
      const answer = await run()
      await act(object)
      hasActed = true
      return answer
    })
    Reflect.set(object, 'env', { ...env, DB: slow })
    const ended = await object.alarm().then(() => 'well', String)
    expect(hasActed).toBe(true)
    return ended
  })
}

describe('an alarm that waits for D1 while the object is emptied', () => {
  it('ends well, and leaves the object without rows, tables and alarm', async () => {
    const id = newId('dev')
    expect(await whileAlarmWaits(id, async (object) => await object.empty())).toBe('well')
    expect(await contentsOf({ id })).toEqual(NOTHING)
    expect(await tablesOf({ id })).toEqual([])
  })

  it('ends well where a late call has filled the object again, and takes nothing of it', async () => {
    const id = newId('dev')
    const ended = await whileAlarmWaits(id, async (object) => {
      await object.empty()
      await object.charge(id, chargeOf({ quota: { limit: 5, period: 'total' } }))
    })
    expect(ended).toBe('well')
    expect(await contentsOf({ id })).toEqual({ filled: ['meters'], hasAlarm: false })
  })

  it('makes no tables where it comes after the object was emptied', async () => {
    const id = newId('dev')
    await countUse(id, Date.now())
    await runInDurableObject(stateOf({ id }), async (object: DeviceState) => {
      await object.empty()
      await object.alarm()
    })
    expect(await tablesOf({ id })).toEqual([])
  })
})

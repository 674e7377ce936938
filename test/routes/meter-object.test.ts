import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import type { DeviceState } from '../../src/device-state/device-state.ts'
import { call, pick } from '../support/client.ts'
import { countStatuses } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import {
  atOnce,
  chargeOf,
  makeLimitedDevice,
  setClock,
  setUpVerifier,
  stateOf,
} from '../support/limits.ts'
import { execute } from '../support/rows.ts'

const HUNDRED = { limit: 100, windowSeconds: 3600 } as const
const RATE = { limit: 100, window_seconds: 3600 } as const

/** A device of which only the object is used. */
const fresh = () => ({ id: newId('dev') })

const get = async (token: string) => await call('GET', '/v1/device', { token })

afterEach(() => {
  vi.useRealTimers()
})

describe('the counters of a key', () => {
  it('survive an eviction in the middle of a window: no decision changes', async () => {
    const [evicted, kept] = [fresh(), fresh()]
    const policy = {
      rateLimit: { limit: 10, windowSeconds: 60 },
      quota: { limit: 15, period: 'hour' },
    } as const
    const start = Date.UTC(2030, 0, 1, 12, 59)
    const seen = []
    for (let step = 0; step < 60; step += 1) {
      setClock(start + step * 2700)
      if (step % 7 === 3) await evictDurableObject(stateOf(evicted))
      const request = chargeOf(policy, { cost: step % 3 })
      const decision = await stateOf(evicted).charge(evicted.id, request)
      expect(decision).toEqual(await stateOf(kept).charge(kept.id, request))
      seen.push(decision.refusedBy ?? 'passed')
    }
    expect(new Set(seen)).toEqual(new Set(['passed', 'rate_limited', 'quota_exceeded']))
  })

  it('hold at a full window across an eviction until it is over, to the millisecond', async () => {
    const device = fresh()
    const policy = { rateLimit: { limit: 5, windowSeconds: 60 } }
    const start = Date.UTC(2030, 5, 1)
    const charge = async (at: number) => {
      setClock(at)
      return await stateOf(device).charge(device.id, chargeOf(policy))
    }
    for (let spent = 0; spent < 5; spent += 1) await charge(start)
    await evictDurableObject(stateOf(device))
    expect(await charge(start + 20_000)).toMatchObject({
      refusedBy: 'rate_limited',
      retryAt: start + 60_000,
      retryInMs: 40_000,
    })
    await evictDurableObject(stateOf(device))
    expect((await charge(start + 59_999)).refusedBy).toBe('rate_limited')
    await evictDurableObject(stateOf(device))
    expect((await charge(start + 60_000)).refusedBy).toBeNull()
  })

  it('are not reset by a clock that steps back over an eviction', async () => {
    const device = fresh()
    const policy = { quota: { limit: 1, period: 'hour' } } as const
    const hour = Date.UTC(2030, 5, 1, 13)
    setClock(hour)
    expect((await stateOf(device).charge(device.id, chargeOf(policy))).refusedBy).toBeNull()
    await evictDurableObject(stateOf(device))
    setClock(hour - 5000)
    expect(await stateOf(device).charge(device.id, chargeOf(policy))).toMatchObject({
      refusedBy: 'quota_exceeded',
      retryAt: hour - 5000 + 3_600_000,
      retryInMs: 3_600_000,
    })
  })

  it('are one to a key, and not shared by the keys of a device', async () => {
    const device = fresh()
    const policy = { rateLimit: { limit: 1, windowSeconds: 60 } }
    for (const keyId of ['key_a', 'key_b']) {
      const charge = async () =>
        await stateOf(device).charge(device.id, chargeOf(policy, { keyId, counts: true }))
      expect((await charge()).refusedBy).toBeNull()
      expect((await charge()).refusedBy).toBe('rate_limited')
    }
  })

  it.each([0, 60])(
    'are neither reset nor doubled by a rotation (overlap %i s)',
    async (overlap) => {
      const user = await makeUser()
      const quota = { limit: 10, period: 'day' }
      const device = await makeLimitedDevice(user, { rate_limit: RATE, quota })
      for (let spent = 0; spent < 4; spent += 1) await get(device.secret)
      const rotated = await call('POST', `/v1/devices/${device.id}/keys/${device.keyId}/rotate`, {
        token: user.token,
        body: { overlap_seconds: overlap },
      })
      const secret = pick(rotated.body, 'api_key')
      const first = await get(secret)
      expect(first.headers.get('ratelimit')).toMatch(/"rate";r=95;t=\d+, "quota";r=5;t=\d+/)
      const old = await get(device.secret)
      expect(old.status).toBe(overlap === 0 ? 401 : 200)
      const answers = await atOnce(20, () => get(secret))
      expect(countStatuses(answers)).toEqual(
        overlap === 0 ? { 200: 5, 429: 15 } : { 200: 4, 429: 16 },
      )
      if (overlap > 0) expect((await get(device.secret)).status).toBe(429)
    },
  )

  it('are left alone by what fails on scope, expiry, revocation or for being disabled', async () => {
    const spoil = {
      insufficient_scope: 'update api_keys set scopes = \'["other"]\' where id = ?',
      disabled: 'update api_keys set disabled_at = 1 where id = ?',
      expired: 'update api_keys set expires_at = 1 where id = ?',
      revoked: 'update api_keys set revoked_at = 1 where id = ?',
    }
    const quota = { limit: 10, period: 'total' } as const
    const limits = { rate_limit: RATE, quota }
    const { device, verify } = await setUpVerifier(limits, { scopes: ['a:b'] })
    const asked = { scopes: ['a:b'], fresh: true }
    expect((await verify(asked)).body).toMatchObject({ valid: true, quota: { remaining: 9 } })
    for (const [code, statement] of Object.entries(spoil)) {
      await execute(statement, device.keyId)
      const answer = await verify(asked)
      expect(answer.body).toMatchObject({ valid: false, code })
      expect(answer.body).not.toHaveProperty('rate_limit')
      expect(answer.body).not.toHaveProperty('quota')
    }
    const request = chargeOf({ rateLimit: HUNDRED, quota }, { cost: 0, keyId: device.keyId })
    expect(await stateOf(device).charge(device.id, request)).toMatchObject({
      rateLimit: { remaining: 99 },
      quota: { remaining: 9 },
    })
  })

  it('stay one small row, written once a charge', async () => {
    const device = fresh()
    const policy = {
      rateLimit: { limit: 1_000_000, windowSeconds: 60 },
      quota: { limit: 1_000_000, period: 'month' },
    } as const
    const start = Date.UTC(2030, 5, 1, 12)
    setClock(start)
    const next = () => chargeOf(policy, { cost: 7, counts: true })
    // The first of a day also notes when to tell D1, and the first of all makes the tables.
    await stateOf(device).charge(device.id, next())
    const written = async () =>
      await runInDurableObject(stateOf(device), async (instance: DeviceState, { storage }) => {
        const total = () => storage.sql.exec<{ n: number }>('select total_changes() as n').one().n
        const before = total()
        await instance.charge(device.id, next())
        return total() - before
      })
    for (let step = 1; step <= 300; step += 1) {
      setClock(start + step * 601)
      expect(await written()).toBe(1)
    }
    await runInDurableObject(stateOf(device), (_, { storage }) => {
      const rows = storage.sql.exec<{ state: string }>('select state from meters').toArray()
      expect(rows).toHaveLength(1)
      expect(rows[0]?.state.length).toBeLessThan(5000)
    })
  })
})

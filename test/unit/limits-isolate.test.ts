import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MeterDecision } from '../../src/domain/meter.ts'
import type { UsageCount } from '../../src/domain/usage-count.ts'
import { RefusedMeters } from '../../src/isolate/refused-meters.ts'
import { FLUSH_DEVICES_MAX, UsageBuffer } from '../../src/isolate/usage-buffer.ts'

const NOW = Date.UTC(2026, 6, 14, 12)

const decision: MeterDecision = {
  refusedBy: 'rate_limited',
  rateLimit: { limit: 5, remaining: 0, resetAt: NOW + 1000 },
  quota: null,
  retryAt: NOW + 1000,
}

const counted = (keyId: string, outcome: UsageCount['outcome'] = 'allowed'): UsageCount => ({
  keyId,
  secretHash: `hash of ${keyId}`,
  outcome,
  count: 1,
  at: NOW,
})

describe('a refusal in memory', () => {
  it('stands until its time, and not at it, for costs as large or larger', () => {
    const refusals = new RefusedMeters()
    refusals.remember('meter', { cost: 3, until: NOW + 1000, decision })
    expect(refusals.find('meter', 3, NOW)?.refusedBy).toBe('rate_limited')
    expect(refusals.find('meter', 1000, NOW + 999)?.refusedBy).toBe('rate_limited')
    expect(refusals.find('meter', 2, NOW)).toBeUndefined()
    expect(refusals.find('meter', 0, NOW)).toBeUndefined()
    expect(refusals.find('another', 3, NOW)).toBeUndefined()
    expect(refusals.find('meter', 3, NOW + 1000)).toBeUndefined()
    // And is gone then, also for a clock that steps back.
    expect(refusals.find('meter', 3, NOW)).toBeUndefined()
  })

  it('gives way to the next one', () => {
    const refusals = new RefusedMeters()
    refusals.remember('meter', { cost: 3, until: NOW + 1000, decision })
    refusals.remember('meter', { cost: 1, until: NOW + 500, decision })
    expect(refusals.find('meter', 1, NOW + 499)).toBeDefined()
    expect(refusals.find('meter', 1, NOW + 500)).toBeUndefined()
  })

  it('is one of at most 10,000: the oldest goes first', () => {
    const refusals = new RefusedMeters()
    const refusal = { cost: 1, until: NOW + 1000, decision }
    for (let meter = 0; meter < 10_000; meter += 1) refusals.remember(`meter ${meter}`, refusal)
    refusals.remember('meter 0', refusal)
    expect(refusals.find('meter 1', 1, NOW)).toBeDefined()
    refusals.remember('one more', refusal)
    expect(refusals.find('meter 1', 1, NOW)).toBeUndefined()
    expect(refusals.find('meter 0', 1, NOW)).toBeDefined()
    expect(refusals.find('meter 2', 1, NOW)).toBeDefined()
  })
})

describe('the buffer of usage', () => {
  it('joins what is alike, and gives out what was put in', () => {
    const name = fc.constantFrom('a', 'b', 'c')
    const outcome = fc.constantFrom('allowed' as const, 'expired' as const, 'revoked' as const)
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, name, outcome), { maxLength: 300, size: 'max' }),
        (verifies) => {
          const buffer = new UsageBuffer()
          for (const [device, key, outcome] of verifies) buffer.add(device, counted(key, outcome))
          const taken = buffer.take()
          const found = taken.flatMap(({ deviceId, counts }) =>
            counts.map(({ keyId, outcome, count }) => [`${deviceId} ${keyId} ${outcome}`, count]),
          )
          const expected: Record<string, number> = {}
          for (const verify of verifies) {
            const label = verify.join(' ')
            expected[label] = (expected[label] ?? 0) + 1
          }
          expect(Object.fromEntries(found)).toEqual(expected)
          expect(found).toHaveLength(Object.keys(expected).length)
          expect(buffer.take()).toEqual([])
        },
      ),
    )
  })

  it('keeps the secrets of a key apart', () => {
    const buffer = new UsageBuffer()
    buffer.add('device', { ...counted('key'), secretHash: 'old' })
    buffer.add('device', { ...counted('key'), secretHash: 'new' })
    expect(buffer.take()[0]?.counts.map(({ secretHash }) => secretHash)).toEqual(['old', 'new'])
  })

  it('keeps the two sides of an hour apart, and joins what is of one hour', () => {
    const buffer = new UsageBuffer()
    for (const at of [NOW - 2, NOW - 1, NOW]) buffer.add('device', { ...counted('key'), at })
    const [taken] = buffer.take()
    expect(taken?.counts.map(({ at, count }) => ({ at, count }))).toEqual([
      { at: NOW - 1, count: 2 },
      { at: NOW, count: 1 },
    ])
  })

  it('gives out 40 devices at a time, those first that have waited longest', () => {
    expect(FLUSH_DEVICES_MAX).toBe(40)
    const buffer = new UsageBuffer()
    for (let device = 0; device < 100; device += 1) buffer.add(`device ${device}`, counted('key'))
    buffer.add('device 0', counted('key'))
    const slices = [buffer.take(), buffer.take(), buffer.take(), buffer.take()]
    expect(slices.map((slice) => slice.length)).toEqual([40, 40, 20, 0])
    const order = slices.flat().map(({ deviceId }) => deviceId)
    expect(order).toEqual(Array.from({ length: 100 }, (_, device) => `device ${device}`))
    expect(slices[0]?.[0]?.counts[0]?.count).toBe(2)
  })

  it('lets one caller flush until a deadline of 30 s, and then the next', () => {
    const buffer = new UsageBuffer()
    expect(buffer.claimFlush(NOW)).toBe(true)
    for (const later of [0, 1, 20_000, 29_999]) expect(buffer.claimFlush(NOW + later)).toBe(false)
    expect(buffer.claimFlush(NOW + 30_000)).toBe(true)
    expect(buffer.claimFlush(NOW + 30_001)).toBe(false)
  })

  it('lets the next caller flush as soon as the counts were taken', () => {
    const buffer = new UsageBuffer()
    expect(buffer.claimFlush(NOW)).toBe(true)
    buffer.take()
    expect(buffer.claimFlush(NOW + 20_000)).toBe(true)
  })
})

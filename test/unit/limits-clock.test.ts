import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  chargeMeter,
  hasEnded,
  type MeterPolicy,
  type MeterState,
  UNSPENT,
} from '../../src/domain/meter.ts'

const NOW = Date.UTC(2026, 10, 15, 12, 30)
const DAY_MS = 86_400_000
const PERIODS = ['hour', 'day', 'month'] as const
const LONGEST = { hour: 3_600_000, day: DAY_MS, month: 31 * DAY_MS, total: Infinity }

const rate = (limit: number, windowSeconds: number): MeterPolicy => ({
  rateLimit: { limit, windowSeconds },
  quota: null,
})

/** Charges 1 until it is refused; returns the state, and how often it was granted. */
function exhaust(state: MeterState, policy: MeterPolicy, clock: number) {
  for (let granted = 0; ; granted += 1) {
    const { state: next, decision } = chargeMeter(state, policy, 1, clock)
    if (decision.refusedBy !== null) return { state: next, granted, decision }
    state = next
  }
}

describe('a meter whose clock was ahead', () => {
  const jumps = fc.integer({ min: 61_000, max: 5 * 365 * DAY_MS })

  it('recovers its rate limit within one window of the true time', () => {
    fc.assert(
      fc.property(jumps, fc.integer({ min: 1, max: 86_400 }), (jump, seconds) => {
        const policy = rate(3, seconds)
        const ahead = exhaust(UNSPENT, policy, NOW + jump)
        const back = exhaust(ahead.state, policy, NOW)
        const later = exhaust(back.state, policy, NOW + seconds * 1000)
        // A longer window than the jump may still hold what was spent.
        expect(later.granted).toBe(3)
      }),
    )
  })

  it.each(PERIODS)('goes on with its quota in the true %s, and keeps what it spent', (period) => {
    fc.assert(
      fc.property(jumps, (jump) => {
        const policy: MeterPolicy = { rateLimit: null, quota: { limit: 5, period } }
        const spent = chargeMeter(UNSPENT, policy, 3, NOW + jump).state
        const back = exhaust(spent, policy, NOW)
        expect(back.granted).toBe(2)
        // The period that the clock had begun, if it is the next, is over by then.
        expect(exhaust(back.state, policy, NOW + 2 * LONGEST[period]).granted).toBe(5)
      }),
    )
  })

  it.each(PERIODS)('has a whole quota in the next true %s, if it was far ahead', (period) => {
    fc.assert(
      fc.property(fc.integer({ min: 63 * DAY_MS, max: 2000 * DAY_MS }), (jump) => {
        const policy: MeterPolicy = { rateLimit: null, quota: { limit: 5, period } }
        const back = exhaust(chargeMeter(UNSPENT, policy, 3, NOW + jump).state, policy, NOW)
        expect(exhaust(back.state, policy, NOW + LONGEST[period]).granted).toBe(5)
      }),
    )
  })

  it('keeps what a total quota spent, whatever the clock says', () => {
    const policy: MeterPolicy = { rateLimit: null, quota: { limit: 5, period: 'total' } }
    const spent = chargeMeter(UNSPENT, policy, 3, NOW + 365 * DAY_MS).state
    expect(exhaust(spent, policy, NOW).granted).toBe(2)
  })

  it('never asks to wait longer than the window or the period', () => {
    const steps = fc.array(fc.integer({ min: -400 * DAY_MS, max: 400 * DAY_MS }), { maxLength: 8 })
    fc.assert(
      fc.property(steps, fc.constantFrom(...PERIODS), (clocks, period) => {
        const policy: MeterPolicy = {
          rateLimit: { limit: 1, windowSeconds: 60 },
          quota: { limit: 2, period },
        }
        let state = UNSPENT
        for (const step of clocks) {
          const clock = NOW + step
          for (let turn = 0; turn < 2; turn += 1) {
            const { state: next, decision } = chargeMeter(state, policy, 1, clock)
            state = next
            const longest = Math.max(60_000, LONGEST[period])
            expect((decision.retryAt ?? clock) - clock).toBeLessThanOrEqual(longest)
            const { rateLimit, quota } = decision
            expect((rateLimit?.resetAt ?? clock) - clock).toBeLessThanOrEqual(60_000)
            expect((quota?.resetAt ?? clock) - clock).toBeLessThanOrEqual(LONGEST[period])
          }
        }
      }),
    )
  })
})

describe('a clock that falls back over the turn of a period, and recovers', () => {
  it.each(PERIODS)('hands out no second quota of the %s that had begun', (period) => {
    const turn = period === 'month' ? Date.UTC(2026, 11, 1) : Date.UTC(2026, 10, 15)
    const policy: MeterPolicy = { rateLimit: null, quota: { limit: 5, period } }
    const full = exhaust(UNSPENT, policy, turn + 30_000)
    // A question is enough to have its time written.
    const back = chargeMeter(full.state, policy, 0, turn - 40_000)
    expect(exhaust(back.state, policy, turn + 40_000).granted).toBe(0)
    expect(exhaust(back.state, policy, turn + LONGEST[period] + 30_000).granted).toBe(5)
  })
})

describe('a clock that steps back by seconds', () => {
  it('hands out no second quota at the turn of a period', () => {
    const steps = fc.array(fc.integer({ min: -20_000, max: 20_000 }), { maxLength: 30 })
    fc.assert(
      fc.property(steps, (offsets) => {
        const policy: MeterPolicy = { rateLimit: null, quota: { limit: 5, period: 'hour' } }
        const turn = Date.UTC(2026, 10, 15, 13)
        let state = UNSPENT
        let granted = 0
        for (const offset of offsets) {
          const charged = chargeMeter(state, policy, 1, turn + offset)
          state = charged.state
          if (charged.decision.refusedBy === null) granted += 1
        }
        expect(granted).toBeLessThanOrEqual(10)
        expect(exhaust(state, policy, turn + 30_000).granted + granted).toBeLessThanOrEqual(10)
      }),
    )
  })

  it('frees nothing before a window of its own time has passed', () => {
    const policy = rate(3, 10)
    const full = exhaust(UNSPENT, policy, NOW)
    const back = exhaust(full.state, policy, NOW - 5000)
    expect(back.granted).toBe(0)
    expect(exhaust(back.state, policy, NOW + 4999).granted).toBe(0)
    expect(exhaust(back.state, policy, NOW + 5000).granted).toBe(3)
  })

  it('stands still for a hundredth of the window: the clocks of hosts differ by a little', () => {
    const policy = rate(3, 10)
    const full = exhaust(UNSPENT, policy, NOW)
    const back = exhaust(full.state, policy, NOW - 100)
    expect(exhaust(back.state, policy, NOW + 9999).granted).toBe(0)
    expect(exhaust(back.state, policy, NOW + 10_000).granted).toBe(3)
  })
})

describe('a meter says nothing any more', () => {
  it('a day after its last grant, and when the period of its quota is over', () => {
    const policy: MeterPolicy = {
      rateLimit: { limit: 5, windowSeconds: 60 },
      quota: { limit: 5, period: 'month' },
    }
    const { state } = chargeMeter(UNSPENT, policy, 1, NOW)
    const nextMonth = Date.UTC(2026, 11, 1)
    expect(hasEnded(state, nextMonth - 1)).toBe(false)
    expect(hasEnded(state, nextMonth)).toBe(true)
    const limited = chargeMeter(UNSPENT, rate(5, 60), 1, NOW).state
    expect(hasEnded(limited, NOW + DAY_MS - 1)).toBe(false)
    expect(hasEnded(limited, NOW + DAY_MS)).toBe(true)
  })

  it('but never of a total quota of which something is spent', () => {
    const policy: MeterPolicy = { rateLimit: null, quota: { limit: 5, period: 'total' } }
    const { state } = chargeMeter(UNSPENT, policy, 1, NOW)
    expect(hasEnded(state, NOW + 100 * 365 * DAY_MS)).toBe(false)
  })
})

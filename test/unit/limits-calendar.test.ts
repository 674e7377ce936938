import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chargeMeter, UNSPENT } from '../../src/domain/meter.ts'
import { periodEnd, periodStart, type QuotaPeriod } from '../../src/domain/quota.ts'

const at = (text: string) => Date.parse(text)

/** Period, a time in it, its start, its end. */
const CALENDAR: readonly (readonly [QuotaPeriod, string, string, string | null])[] = [
  ['hour', '2026-07-14T12:00:00.000Z', '2026-07-14T12:00:00.000Z', '2026-07-14T13:00:00.000Z'],
  ['hour', '2026-07-14T12:59:59.999Z', '2026-07-14T12:00:00.000Z', '2026-07-14T13:00:00.000Z'],
  ['hour', '2026-12-31T23:30:00.000Z', '2026-12-31T23:00:00.000Z', '2027-01-01T00:00:00.000Z'],
  // The hours in which Europe and America change their clocks: UTC does not.
  ['hour', '2026-03-29T01:30:00.000Z', '2026-03-29T01:00:00.000Z', '2026-03-29T02:00:00.000Z'],
  ['day', '2026-03-29T23:59:59.999Z', '2026-03-29T00:00:00.000Z', '2026-03-30T00:00:00.000Z'],
  ['day', '2026-10-25T01:30:00.000Z', '2026-10-25T00:00:00.000Z', '2026-10-26T00:00:00.000Z'],
  ['day', '2026-11-01T06:30:00.000Z', '2026-11-01T00:00:00.000Z', '2026-11-02T00:00:00.000Z'],
  ['day', '2028-02-28T12:00:00.000Z', '2028-02-28T00:00:00.000Z', '2028-02-29T00:00:00.000Z'],
  ['day', '2028-02-29T12:00:00.000Z', '2028-02-29T00:00:00.000Z', '2028-03-01T00:00:00.000Z'],
  ['day', '2027-02-28T12:00:00.000Z', '2027-02-28T00:00:00.000Z', '2027-03-01T00:00:00.000Z'],
  ['day', '2026-12-31T00:00:00.000Z', '2026-12-31T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
  ['month', '2026-01-31T23:59:59.999Z', '2026-01-01T00:00:00.000Z', '2026-02-01T00:00:00.000Z'],
  ['month', '2027-02-28T23:59:59.999Z', '2027-02-01T00:00:00.000Z', '2027-03-01T00:00:00.000Z'],
  ['month', '2028-02-29T23:59:59.999Z', '2028-02-01T00:00:00.000Z', '2028-03-01T00:00:00.000Z'],
  ['month', '2100-02-28T23:59:59.999Z', '2100-02-01T00:00:00.000Z', '2100-03-01T00:00:00.000Z'],
  ['month', '2026-04-30T12:00:00.000Z', '2026-04-01T00:00:00.000Z', '2026-05-01T00:00:00.000Z'],
  ['month', '2026-12-31T23:59:59.999Z', '2026-12-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
  ['month', '2027-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z', '2027-02-01T00:00:00.000Z'],
  ['total', '2026-07-14T12:00:00.000Z', '1970-01-01T00:00:00.000Z', null],
]

describe('a period of the calendar', () => {
  it.each(CALENDAR)('%s of %s is from %s to %s', (period, time, start, end) => {
    expect(periodStart(period, at(time))).toBe(at(start))
    expect(periodEnd(period, at(time))).toBe(end === null ? null : at(end))
  })

  it('holds every time in exactly one, without a gap', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('hour' as const, 'day' as const, 'month' as const),
        fc.integer({ min: at('2020-01-01T00:00:00Z'), max: at('2101-01-01T00:00:00Z') }),
        (period, now) => {
          const start = periodStart(period, now)
          const end = periodEnd(period, now) ?? 0
          expect(start).toBeLessThanOrEqual(now)
          expect(end).toBeGreaterThan(now)
          expect(periodStart(period, end)).toBe(end)
          expect(periodStart(period, end - 1)).toBe(start)
          expect(periodEnd(period, start)).toBe(end)
          const date = new Date(now)
          const lastDay = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0))
          const hours = { hour: 1, day: 24, month: 24 * lastDay.getUTCDate() }
          expect(end - start).toBe(hours[period] * 3_600_000)
        },
      ),
    )
  })

  it.each(CALENDAR)('gives a quota of one %s at %s once', (period, time, _, end) => {
    const policy = { rateLimit: null, quota: { limit: 5, period } }
    const now = at(time)
    const { state, decision } = chargeMeter(UNSPENT, policy, 5, now)
    const endsAt = end === null ? null : at(end)
    expect(decision.quota).toEqual({ limit: 5, remaining: 0, resetAt: endsAt })
    const refused = chargeMeter(state, policy, 1, now).decision
    expect(refused).toMatchObject({ refusedBy: 'quota_exceeded', retryAt: endsAt })
    const later = endsAt ?? now + 20 * 365 * 86_400_000
    expect(chargeMeter(state, policy, 1, later - 1).decision.refusedBy).toBe('quota_exceeded')
    const next = chargeMeter(state, policy, 5, later).decision
    expect(next.refusedBy).toBe(endsAt === null ? 'quota_exceeded' : null)
  })
})

const NOON = at('2026-07-14T12:34:56.789Z')

const tenEach = (period: QuotaPeriod) => ({ rateLimit: null, quota: { limit: 10, period } })
const monthly = (limit: number) => ({ rateLimit: null, quota: { limit, period: 'month' } }) as const

describe('a quota', () => {
  it('asks for no cost and takes none, even when it is used up', () => {
    const policy = { rateLimit: null, quota: { limit: 3, period: 'day' } } as const
    const { state } = chargeMeter(UNSPENT, policy, 3, NOON)
    const asked = chargeMeter(state, policy, 0, NOON + 1)
    expect(asked.decision).toEqual({
      refusedBy: null,
      rateLimit: null,
      quota: { limit: 3, remaining: 0, resetAt: at('2026-07-15T00:00:00Z') },
      retryAt: null,
    })
  })

  it('never fits what is larger than itself', () => {
    const policy = { rateLimit: null, quota: { limit: 3, period: 'hour' } } as const
    expect(chargeMeter(UNSPENT, policy, 4, NOON).decision).toMatchObject({
      refusedBy: 'quota_exceeded',
      retryAt: null,
      quota: { remaining: 3, resetAt: null },
    })
  })

  it('lowered below what is used refuses, and says 0; raised, it goes on from there', () => {
    const { state } = chargeMeter(UNSPENT, monthly(100), 60, NOON)
    expect(chargeMeter(state, monthly(10), 1, NOON + 1).decision).toMatchObject({
      refusedBy: 'quota_exceeded',
      quota: { limit: 10, remaining: 0 },
    })
    expect(chargeMeter(state, monthly(70), 10, NOON + 2).decision.quota?.remaining).toBe(0)
    expect(chargeMeter(state, monthly(70), 11, NOON + 2).decision.refusedBy).toBe('quota_exceeded')
  })

  const PERIODS = ['hour', 'day', 'month', 'total'] as const
  const CHANGES = PERIODS.flatMap((from) => PERIODS.map((to) => [from, to] as const))

  it.each(CHANGES)('changed from %s to %s hands out no second one', (from, to) => {
    const { state } = chargeMeter(UNSPENT, tenEach(from), 8, NOON)
    const changed = chargeMeter(state, tenEach(to), 2, NOON + 1)
    expect(changed.decision).toMatchObject({ refusedBy: null, quota: { remaining: 0 } })
    expect(chargeMeter(changed.state, tenEach(to), 1, NOON + 2).decision).toMatchObject({
      refusedBy: 'quota_exceeded',
      retryAt: periodEnd(to, NOON),
    })
    // And back again.
    expect(chargeMeter(changed.state, tenEach(from), 1, NOON + 3).decision.refusedBy).toBe(
      'quota_exceeded',
    )
  })

  it('that was taken away and given back in the same period goes on', () => {
    const rateLimit = { limit: 1000, windowSeconds: 60 }
    const both = { rateLimit, quota: { limit: 10, period: 'day' } } as const
    let { state } = chargeMeter(UNSPENT, both, 8, NOON)
    ;({ state } = chargeMeter(state, { rateLimit, quota: null }, 5, NOON + 1))
    expect(chargeMeter(state, both, 3, NOON + 2).decision.refusedBy).toBe('quota_exceeded')
    expect(chargeMeter(state, both, 2, NOON + 2).decision.refusedBy).toBeNull()
  })

  it('that changes in a later period starts from nothing', () => {
    const { state } = chargeMeter(UNSPENT, tenEach('hour'), 8, NOON)
    const nextHour = at('2026-07-14T13:00:00Z')
    expect(chargeMeter(state, tenEach('hour'), 10, nextHour).decision.refusedBy).toBeNull()
  })
})

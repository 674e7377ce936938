import { DAY_MS, HOUR_MS, MINUTE_MS } from './time.ts'

/** Quotas by the calendar, in UTC: an hour, a day, a month, or for good. Times are milliseconds. */

export type QuotaPeriod = 'hour' | 'day' | 'month' | 'total'

export type Quota = { readonly limit: number; readonly period: QuotaPeriod }

export type QuotaState = {
  readonly period: QuotaPeriod
  /** When the period that `used` belongs to began. */
  readonly startAt: number
  readonly used: number
}

/** When the period that holds this time began. */
export function periodStart(period: QuotaPeriod, now: number): number {
  switch (period) {
    case 'hour':
      return now - (now % HOUR_MS)
    case 'day':
      return now - (now % DAY_MS)
    case 'month': {
      const date = new Date(now)
      return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1)
    }
    case 'total':
      return 0
  }
}

/** When the period that holds this time ends; null: never. */
export function periodEnd(period: QuotaPeriod, now: number): number | null {
  switch (period) {
    case 'hour':
      return periodStart('hour', now) + HOUR_MS
    case 'day':
      return periodStart('day', now) + DAY_MS
    case 'month': {
      const date = new Date(now)
      return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1)
    }
    case 'total':
      return null
  }
}

/** How long a period is at most; that of `total` has no end. */
export function longestPeriodMs(period: QuotaPeriod): number {
  switch (period) {
    case 'hour':
      return HOUR_MS
    case 'day':
      return DAY_MS
    case 'month':
      return 31 * DAY_MS
    case 'total':
      return Infinity
  }
}

export type QuotaReading = {
  readonly fits: boolean
  /** If it does not fit: when a retry would; null: never. */
  readonly fitsAt: number | null
  readonly remaining: number
  /** When the period ends; null: never. */
  readonly endsAt: number | null
}

/** A clock that is behind by so much at most stands still: hosts' clocks differ by a little. */
const CLOCK_SLACK_MS = MINUTE_MS

/** The time that quotas go by, after one that they went by before. */
export function settleClock(before: number, clock: number): number {
  return before - clock <= CLOCK_SLACK_MS ? Math.max(before, clock) : clock
}

/**
 * The count of the current period under this policy. A change of the period keeps what the old one
 * counted so far: how much of it lies in the new one is not known, and no change of the policy may
 * hand out a second quota.
 *
 * A clock that was ahead began a period that is still to come: its count is kept. If that is the
 * next one, it stays begun: the clock may have fallen back for a moment, and must not begin it
 * twice.
 */
export function currentQuota(
  state: QuotaState | null,
  period: QuotaPeriod,
  now: number,
): QuotaState {
  const startAt = periodStart(period, now)
  if (state === null || state.startAt < periodStart(state.period, now)) {
    return { period, startAt, used: 0 }
  }
  const hasBegunNext = state.period === period && state.startAt === periodEnd(period, now)
  return { period, startAt: hasBegunNext ? state.startAt : startAt, used: state.used }
}

/** What a request of this cost meets. A cost of 0 asks without spending, and always fits. */
export function readQuota(current: QuotaState, policy: Quota, cost: number): QuotaReading {
  const fits = cost === 0 || current.used + cost <= policy.limit
  const endsAt = periodEnd(policy.period, current.startAt)
  return {
    fits,
    fitsAt: cost <= policy.limit ? endsAt : null,
    remaining: Math.max(0, policy.limit - current.used),
    endsAt,
  }
}

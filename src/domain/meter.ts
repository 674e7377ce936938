import {
  currentQuota,
  longestPeriodMs,
  periodEnd,
  type Quota,
  type QuotaReading,
  type QuotaState,
  readQuota,
  settleClock,
} from './quota.ts'
import {
  type RateLimit,
  type RateLimitState,
  readWindow,
  settleWindow,
  spendWindow,
  type WindowReading,
} from './rate-limit.ts'
import { SECOND_MS } from './time.ts'

/** What limits a key: either, both, or (then nothing is metered) neither. */
export type MeterPolicy = { readonly rateLimit: RateLimit | null; readonly quota: Quota | null }

/** What a key has spent. `at` is the time that its quota went by. */
export type MeterState = {
  readonly at: number
  readonly window: RateLimitState
  readonly quota: QuotaState | null
}

/** What one request may cost at most. */
export const COST_MAX = 1000

/** The longest window of a rate limit: a day. */
export const WINDOW_MAX_SECONDS = 86_400

export const UNSPENT: MeterState = { at: 0, window: [], quota: null }

/** How one limit stands after a request. Times are milliseconds. */
export type MeterReading = {
  readonly limit: number
  readonly remaining: number
  /** After a refusal: when a retry would pass. Else: when something comes back. Null: never. */
  readonly resetAt: number | null
}

export type MeterDecision = {
  readonly refusedBy: 'rate_limited' | 'quota_exceeded' | null
  readonly rateLimit: MeterReading | null
  readonly quota: MeterReading | null
  /** After a refusal: when a request of this cost would pass all limits; null: never. */
  readonly retryAt: number | null
}

/**
 * Charges a request to both limits, or to neither: what one refuses spends nothing of the other.
 * After a clock that jumped ahead, a rate limit recovers within a window of the true time, and a
 * quota with the period that the true time is in. No wait is longer than the window or the period.
 * @param clock milliseconds
 */
export function chargeMeter(
  state: MeterState,
  policy: MeterPolicy,
  cost: number,
  clock: number,
): { readonly state: MeterState; readonly decision: MeterDecision } {
  const at = settleClock(state.at, clock)
  const settled = policy.rateLimit && settleWindow(state.window, policy.rateLimit, clock)
  const quota = policy.quota && currentQuota(state.quota, policy.quota.period, at)
  const { window, now } = settled ?? { window: state.window, now: clock }
  const times = { now, clock }
  const before: MeterState = { at, window, quota: quota ?? state.quota }
  const met = read(before, policy, cost, times)
  const refusedBy =
    met.window?.fits === false
      ? 'rate_limited'
      : met.quota?.fits === false
        ? 'quota_exceeded'
        : null
  const after = refusedBy === null ? spend(before, policy, cost, now) : before
  const left = refusedBy === null ? read(after, policy, 0, times) : met
  return {
    state: after,
    decision: {
      refusedBy,
      rateLimit: policy.rateLimit &&
        left.window && {
          limit: policy.rateLimit.limit,
          remaining: left.window.remaining,
          resetAt: left.window.fits ? left.window.nextReturnAt : left.window.fitsAt,
        },
      quota: policy.quota &&
        left.quota && {
          limit: policy.quota.limit,
          remaining: left.quota.remaining,
          resetAt: left.quota.fits ? left.quota.endsAt : left.quota.fitsAt,
        },
      retryAt: refusedBy === null ? null : retryAt([met.window, met.quota]),
    },
  }
}

/** `now` is the time of the rate limit's window; `clock` is the clock's reading. */
type Times = { readonly now: number; readonly clock: number }

function read(state: MeterState, policy: MeterPolicy, cost: number, { now, clock }: Times) {
  const { rateLimit, quota } = policy
  const window = rateLimit && readWindow(state.window, rateLimit, cost, now)
  const standing = quota && state.quota && readQuota(state.quota, quota, cost)
  const windowEnd = clock + (rateLimit?.windowSeconds ?? 0) * SECOND_MS
  const quotaEnd = clock + longestPeriodMs(quota?.period ?? 'total')
  return {
    window: window && {
      ...window,
      fitsAt: noLater(window.fitsAt, windowEnd),
      nextReturnAt: noLater(window.nextReturnAt, windowEnd),
    },
    quota: standing && {
      ...standing,
      fitsAt: noLater(standing.fitsAt, quotaEnd),
      endsAt: noLater(standing.endsAt, quotaEnd),
    },
  }
}

function noLater(time: number | null, latest: number): number | null {
  return time === null ? null : Math.min(time, latest)
}

function spend(state: MeterState, policy: MeterPolicy, cost: number, now: number): MeterState {
  const { at, window, quota } = state
  return {
    at,
    window: policy.rateLimit === null ? window : spendWindow(window, policy.rateLimit, cost, now),
    quota: quota === null || policy.quota === null ? quota : { ...quota, used: quota.used + cost },
  }
}

/** When all that refuse would pass; null: one never will. */
function retryAt(met: readonly (WindowReading | QuotaReading | null)[]): number | null {
  let latest = 0
  for (const reading of met) {
    if (reading === null || reading.fits) continue
    if (reading.fitsAt === null) return null
    latest = Math.max(latest, reading.fitsAt)
  }
  return latest
}

/** Whether a state stands for nothing spent under any policy that may come. */
export function hasEnded({ window, quota }: MeterState, now: number): boolean {
  const windowEnds = (window.at(-1)?.[1] ?? -Infinity) + WINDOW_MAX_SECONDS * SECOND_MS
  const quotaEnds = quota === null || quota.used === 0 ? 0 : periodEnd(quota.period, quota.startAt)
  return now >= windowEnds && quotaEnds !== null && now >= quotaEnds
}

export function isLimited({ rateLimit, quota }: MeterPolicy): boolean {
  return rateLimit !== null || quota !== null
}

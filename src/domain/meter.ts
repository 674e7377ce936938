import { currentQuota, type Quota, type QuotaReading, type QuotaState, readQuota } from './quota.ts'
import {
  type RateLimit,
  type RateLimitState,
  readWindow,
  spendWindow,
  type WindowReading,
} from './rate-limit.ts'

/** What limits a key: either, both, or (then nothing is metered) neither. */
export type MeterPolicy = { readonly rateLimit: RateLimit | null; readonly quota: Quota | null }

/** What a key has spent. `at` is the latest time it was charged at: time never goes back. */
export type MeterState = {
  readonly at: number
  readonly window: RateLimitState
  readonly quota: QuotaState | null
}

/** What one request may cost at most. */
export const COST_MAX = 1000

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
 * @param clock milliseconds; one that steps back is taken to stand still
 */
export function chargeMeter(
  state: MeterState,
  policy: MeterPolicy,
  cost: number,
  clock: number,
): { readonly state: MeterState; readonly decision: MeterDecision } {
  const now = Math.max(clock, state.at)
  const quota = policy.quota && currentQuota(state.quota, policy.quota.period, now)
  const before: MeterState = { at: now, window: state.window, quota: quota ?? state.quota }
  const met = read(before, policy, cost)
  const refusedBy =
    met.window?.fits === false
      ? 'rate_limited'
      : met.quota?.fits === false
        ? 'quota_exceeded'
        : null
  const after = refusedBy === null ? spend(before, policy, cost) : before
  const left = refusedBy === null ? read(after, policy, 0) : met
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

function read(state: MeterState, policy: MeterPolicy, cost: number) {
  const { rateLimit, quota } = policy
  return {
    window: rateLimit && readWindow(state.window, rateLimit, cost, state.at),
    quota: quota && state.quota && readQuota(state.quota, quota, cost),
  }
}

function spend(state: MeterState, policy: MeterPolicy, cost: number): MeterState {
  const { at, window, quota } = state
  return {
    at,
    window: policy.rateLimit === null ? window : spendWindow(window, policy.rateLimit, cost, at),
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

export function isLimited({ rateLimit, quota }: MeterPolicy): boolean {
  return rateLimit !== null || quota !== null
}

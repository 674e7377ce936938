import { SECOND_MS } from './time.ts'

/**
 * A sliding window that lets no more than its limit through in any window of its length: a log of
 * grants, kept in buckets so that its size is bounded whatever the limit. A bucket counts in full
 * until its newest grant has left the window, so the error, a hundredth of the window at most, is
 * always on the side of refusing.
 *
 * It is the sliding window log of Figma's "An alternative approach to rate limiting" (2017), whose
 * one drawback, a size that grows with the limit, the buckets take away. Two weighted windows (as
 * in Cloudflare's "How we built rate limiting capable of scaling to millions of domains", 2017)
 * and GCRA are smaller still, but up to twice the limit can pass them in one window.
 *
 * Pure: state and time in, decision and state out. Times are milliseconds.
 */

export type RateLimit = { readonly limit: number; readonly windowSeconds: number }

/** Grants close together: when the first and the newest were, and how much they cost in all. */
type Bucket = readonly [openedAt: number, newestAt: number, spent: number]

/** The buckets that may still count, oldest first. */
export type RateLimitState = readonly Bucket[]

const BUCKETS_PER_WINDOW = 100
/** Changes of the window leave buckets of other widths: beyond this, the oldest are joined. */
const BUCKETS_MAX = 2 * BUCKETS_PER_WINDOW

/** How a window stands for a request. */
export type WindowReading = {
  readonly fits: boolean
  /** If it does not fit: when a retry would; null: never. */
  readonly fitsAt: number | null
  readonly remaining: number
  /** When something that is spent now comes back; null where nothing is. */
  readonly nextReturnAt: number | null
}

/** Hosts' clocks differ by a little: one that is behind by so much at most stands still. */
const CLOCK_SLACK_MS = SECOND_MS

/**
 * The log for a clock that may have stepped back. Behind the newest grant by a little, it stands
 * still. Behind by more, it was ahead when it granted: those grants count from now on, so that all
 * of them are gone a window later. One reading cannot tell a clock that was ahead from one that
 * fell back: after one that falls back by a window and recovers, those grants are gone early.
 * @returns the log, and the time to go on from
 */
export function settleWindow(
  state: RateLimitState,
  policy: RateLimit,
  clock: number,
): { readonly window: RateLimitState; readonly now: number } {
  const newestAt = state.at(-1)?.[1] ?? 0
  const behind = newestAt - clock
  if (behind <= 0) return { window: state, now: clock }
  if (behind <= Math.min(CLOCK_SLACK_MS, bucketMs(policy))) return { window: state, now: newestAt }
  const window = state.map(([opened, newest, spent]): Bucket => [
    Math.min(opened, clock),
    Math.min(newest, clock),
    spent,
  ])
  return { window, now: clock }
}

function bucketMs({ windowSeconds }: RateLimit): number {
  return (windowSeconds * SECOND_MS) / BUCKETS_PER_WINDOW
}

/** What a request of this cost meets. A cost of 0 asks without spending, and always fits. */
export function readWindow(
  state: RateLimitState,
  policy: RateLimit,
  cost: number,
  now: number,
): WindowReading {
  const windowMs = policy.windowSeconds * SECOND_MS
  const live = liveBuckets(state, windowMs, now)
  const spent = live.reduce((sum, [, , count]) => sum + count, 0)
  const [oldest] = live
  return {
    fits: cost === 0 || spent + cost <= policy.limit,
    fitsAt: fitsAt(live, windowMs, policy.limit - cost, spent),
    remaining: Math.max(0, policy.limit - spent),
    nextReturnAt: oldest === undefined ? null : oldest[1] + windowMs,
  }
}

/** The log with a grant of this cost added. Call it only where the request fits. */
export function spendWindow(
  state: RateLimitState,
  policy: RateLimit,
  cost: number,
  now: number,
): RateLimitState {
  const windowMs = policy.windowSeconds * SECOND_MS
  const live = liveBuckets(state, windowMs, now)
  if (cost === 0) return live
  const newest = live.at(-1)
  if (newest !== undefined && now - newest[0] < bucketMs(policy)) {
    return [...live.slice(0, -1), [newest[0], now, newest[2] + cost]]
  }
  return joinOldest([...live, [now, now, cost]])
}

/** A bucket has left when its newest grant is a whole window ago. */
function liveBuckets(state: RateLimitState, windowMs: number, now: number): RateLimitState {
  return state.filter(([, newestAt]) => now < newestAt + windowMs)
}

function fitsAt(
  live: RateLimitState,
  windowMs: number,
  room: number,
  spent: number,
): number | null {
  let left = spent
  for (const [, newestAt, count] of live) {
    left -= count
    if (left <= room) return newestAt + windowMs
  }
  return null
}

function joinOldest(buckets: RateLimitState): RateLimitState {
  const [first, second, ...rest] = buckets
  if (buckets.length <= BUCKETS_MAX || first === undefined || second === undefined) return buckets
  return [[first[0], second[1], first[2] + second[2]], ...rest]
}

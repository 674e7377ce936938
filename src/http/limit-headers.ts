import type { MeterDecision, MeterPolicy, MeterReading } from '../domain/meter.ts'
import { SECOND_MS } from '../domain/time.ts'

/**
 * The fields of a metered response (draft-ietf-httpapi-ratelimit-headers-10): what the limits are,
 * and how they stand. A calendar quota has no window `w`; one that never resets has no `t`.
 */
export function limitHeaders(
  { rateLimit, quota }: MeterPolicy,
  decision: MeterDecision,
  now: number,
): Record<string, string> {
  const policies = [
    ...(rateLimit === null ? [] : [`"rate";q=${rateLimit.limit};w=${rateLimit.windowSeconds}`]),
    ...(quota === null ? [] : [`"quota";q=${quota.limit}`]),
  ]
  const readings = [
    ...(decision.rateLimit === null
      ? []
      : [`"rate"${readingOf(decision.rateLimit, now, rateLimit?.windowSeconds)}`]),
    ...(decision.quota === null ? [] : [`"quota"${readingOf(decision.quota, now)}`]),
  ]
  return { 'RateLimit-Policy': policies.join(', '), RateLimit: readings.join(', ') }
}

/** @param most the window: the object's clock may be a little ahead of ours */
function readingOf({ remaining, resetAt }: MeterReading, now: number, most = Infinity): string {
  if (resetAt === null) return `;r=${remaining}`
  return `;r=${remaining};t=${Math.min(most, secondsUntil(resetAt, now))}`
}

/**
 * `Retry-After` for a limit that never resets, such as a `total` quota: an owner may raise it, so
 * ask again tomorrow.
 */
const NEVER_SECONDS = 86_400

/** `Retry-After` for a key that is over a limit: at least a second. */
export function retryAfter({ retryAt }: MeterDecision, now: number): string {
  return String(retryAt === null ? NEVER_SECONDS : Math.max(1, secondsUntil(retryAt, now)))
}

/** Whole seconds, never too few: who waits so long is not early. */
function secondsUntil(time: number, now: number): number {
  return Math.max(0, Math.ceil((time - now) / SECOND_MS))
}

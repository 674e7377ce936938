import type { MeterDecision, MeterPolicy, MeterReading } from '../domain/meter.ts'

/**
 * The fields of a metered response (draft-ietf-httpapi-ratelimit-headers-10): what the limits are,
 * and how they stand. A calendar quota has no window `w`; one that never resets has no `t`.
 */
export function rateLimitHeaders(
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
      : [`"rate"${standing(decision.rateLimit, now, rateLimit?.windowSeconds)}`]),
    ...(decision.quota === null ? [] : [`"quota"${standing(decision.quota, now)}`]),
  ]
  return { 'RateLimit-Policy': policies.join(', '), RateLimit: readings.join(', ') }
}

/** @param most the window: the object's clock may be a little ahead of ours */
function standing({ remaining, resetAt }: MeterReading, now: number, most = Infinity): string {
  if (resetAt === null) return `;r=${remaining}`
  return `;r=${remaining};t=${Math.min(most, secondsUntil(resetAt, now))}`
}

/** Whole seconds, never too few: who waits so long is not early. */
export function secondsUntil(time: number, now: number): number {
  return Math.max(0, Math.ceil((time - now) / 1000))
}

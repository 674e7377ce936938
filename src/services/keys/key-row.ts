import type { apiKeys } from '../../db/schema.ts'
import type { MeterPolicy } from '../../domain/meter.ts'
import type { Quota } from '../../domain/quota.ts'
import type { RateLimit } from '../../domain/rate-limit.ts'

/** The columns of `api_keys` that hold a key's limits. */
type LimitColumns = Pick<
  typeof apiKeys.$inferSelect,
  'rateLimit' | 'rateWindowSeconds' | 'quotaLimit' | 'quotaPeriod'
>

/** A key's scopes, which are kept as a JSON array of strings. */
export function parseScopes(text: string): readonly string[] {
  const parsed: unknown = JSON.parse(text)
  return Array.isArray(parsed) ? parsed.filter((scope) => typeof scope === 'string') : []
}

export function limitsOf(row: LimitColumns): MeterPolicy {
  const { rateLimit, rateWindowSeconds, quotaLimit, quotaPeriod } = row
  return {
    rateLimit:
      rateLimit === null || rateWindowSeconds === null
        ? null
        : { limit: rateLimit, windowSeconds: rateWindowSeconds },
    quota:
      quotaLimit === null || quotaPeriod === null
        ? null
        : { limit: quotaLimit, period: quotaPeriod },
  }
}

/** The columns for what is given of the limits; what is undefined is left out. */
export function limitColumns(limits: {
  readonly [Limit in keyof MeterPolicy]?: MeterPolicy[Limit] | undefined
}): Partial<LimitColumns> {
  const { rateLimit, quota } = limits
  return {
    ...(rateLimit === undefined
      ? {}
      : {
          rateLimit: rateLimit?.limit ?? null,
          rateWindowSeconds: rateLimit?.windowSeconds ?? null,
        }),
    ...(quota === undefined
      ? {}
      : { quotaLimit: quota?.limit ?? null, quotaPeriod: quota?.period ?? null }),
  }
}

/** The audit's words for limits, and the wire's. */
export function limitFields({
  rateLimit,
  quota,
}: {
  readonly rateLimit?: MeterPolicy['rateLimit'] | undefined
  readonly quota?: MeterPolicy['quota'] | undefined
}) {
  return {
    rate_limit: rateLimit && { limit: rateLimit.limit, window_seconds: rateLimit.windowSeconds },
    quota,
  }
}

/** What a caller may set of a key. An absent field is left as it is, or gets its default. */
export type KeyInput = {
  readonly name?: string | undefined
  readonly scopes?: readonly string[] | undefined
  /** Milliseconds; null: none. */
  readonly expiresAt?: number | null | undefined
  /** Null: none. */
  readonly rateLimit?: RateLimit | null | undefined
  readonly quota?: Quota | null | undefined
  /** Whether its device may rotate it; it may not unless said. */
  readonly selfRotation?: boolean | undefined
}

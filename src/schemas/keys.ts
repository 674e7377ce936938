import * as z from 'zod'
import { WINDOW_MAX_SECONDS } from '../domain/meter.ts'
import { isHoldableScope, SCOPE_MAX_CHARACTERS, SCOPES_MAX } from '../domain/scopes.ts'
import { instant } from './instant.ts'
import { name } from './names.ts'
import { pageQuery } from './page.ts'

/** Ten years, of 365 days. */
const EXPIRES_IN_MAX_SECONDS = 315_360_000
/** Thirty days. */
const OVERLAP_MAX_SECONDS = 2_592_000

const scope = z
  .string()
  .refine(
    isHoldableScope,
    `must be segments of letters, digits, _ . - joined by : (at most ${SCOPE_MAX_CHARACTERS} ` +
      'characters); * may be the last segment; of keys: there are keys:verify and keys:verify-all',
  )

const LIMIT_MAX = 1_000_000

const limit = z.int().min(1).max(LIMIT_MAX)

/** On a change, null takes the limit away. */
const limitFields = {
  rate_limit: z
    .strictObject({ limit, window_seconds: z.int().min(1).max(WINDOW_MAX_SECONDS) })
    .nullable()
    .optional(),
  quota: z
    .strictObject({ limit, period: z.enum(['hour', 'day', 'month', 'total']) })
    .nullable()
    .optional(),
}

export const scopes = z
  .array(scope)
  .max(SCOPES_MAX)
  .transform((scopes) => [...new Set(scopes)])

/** What a policy says beside its scopes. */
export const unscopedPolicyFields = {
  ...limitFields,
  name: name.optional(),
  /** The route says whether it is in the future. Null: none. */
  expires_at: instant.nullable().optional(),
  expires_in: z.int().min(1).max(EXPIRES_IN_MAX_SECONDS).optional(),
  /** Whether its device may rotate it. */
  self_rotation: z.boolean().optional(),
}

const policyFields = { ...unscopedPolicyFields, scopes: scopes.optional() }

type Expiries = { expires_at?: unknown; expires_in?: unknown }

/** The schema, for what does not say twice when it ends. */
export function withOneExpiry<Schema extends z.ZodType<Expiries>>(schema: Schema) {
  return schema.refine(
    (policy) => policy.expires_at === undefined || policy.expires_in === undefined,
    { path: ['expires_in'], message: 'expires_at and expires_in exclude each other' },
  )
}

export const keyPolicy = withOneExpiry(z.strictObject(policyFields))

export const keyChange = withOneExpiry(
  z.strictObject({ ...policyFields, enabled: z.boolean().optional() }),
)

export const keyQuery = pageQuery.extend({
  status: z.enum(['active', 'disabled', 'expired', 'revoked']).optional(),
})

const overlapSeconds = z.int().min(0).max(OVERLAP_MAX_SECONDS).default(0)

export const rotation = z.strictObject({
  overlap_seconds: overlapSeconds,
  /** The old secret lives until the new one is first used, and then for the overlap. */
  until_used: z.boolean().default(false),
})

/** A device's own rotation is always until the new secret is used. */
export const ownRotation = z.strictObject({ overlap_seconds: overlapSeconds })

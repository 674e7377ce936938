import * as z from 'zod'
import type { CheckSecrets } from './crypto/key-check.ts'
import { isKeyPair, type KeyRing } from './crypto/jwt.ts'
import { KEY_PREFIX_PATTERN } from './domain/key-format.ts'
import { isHoldableScope } from './domain/scopes.ts'

const publicUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .refine(
    (url) => URL.canParse(url) && new URL(url).origin === url.replace(/\/$/, ''),
    'must be an origin without a path',
  )
  .transform((url) => new URL(url).origin)

const origins = z
  .string()
  .transform((list) => list.split(',').flatMap((origin) => origin.trim() || []))
  .refine((list) => list.every(isOrigin), 'must list origins such as https://app.example.com')

/** Scopes, and patterns that end in `*`, which only admins may give to a key. */
const scopePatterns = z
  .string()
  .transform((list) => list.split(',').flatMap((pattern) => pattern.trim() || []))
  .refine(
    (list) => list.every((pattern) => isHoldableScope(pattern)),
    'must list scopes such as billing:write or billing:*',
  )

/** The audience of users' tokens. */
export const USER_AUDIENCE = 'urn:latchkey:users'
/** The audience of the token in the form of the page /claim, which opens nothing but that page. */
export const CLAIMS_AUDIENCE = 'urn:latchkey:claims'

/** Audiences that no setting can give to devices' tokens. */
const OWN_AUDIENCES = [USER_AUDIENCE, CLAIMS_AUDIENCE]

/** Resource indicators: absolute URIs without a fragment (RFC 8707 §2). */
const audiences = z
  .string()
  .transform((list) => list.split(',').flatMap((audience) => audience.trim() || []))
  .refine(
    (list) => list.every((text) => URL.canParse(text) && !/[#\s]/.test(text)),
    'must list absolute URIs without a fragment',
  )
  .refine(
    (list) => !OWN_AUDIENCES.some((own) => list.includes(own)),
    "must not hold an audience of Latchkey's own",
  )

const base64url = (bytes: { min: number; max: number }, error: string) =>
  z.string().refine((text) => {
    const length = Buffer.from(text, 'base64url').length
    return /^[A-Za-z0-9_-]+$/.test(text) && length >= bytes.min && length <= bytes.max
  }, error)

const coordinate = base64url({ min: 32, max: 32 }, 'must be 32 bytes in base64url')

const signingKey = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  alg: z.literal('ES256').default('ES256'),
  kid: z.string().min(1),
  x: coordinate,
  y: coordinate,
  d: coordinate,
})

const signingKeys = json('a JWK set: {"keys":[…]}').pipe(
  z
    .object({ keys: z.tuple([signingKey], signingKey) })
    .transform(({ keys }): KeyRing => keys)
    .refine((keys) => hasDistinct(keys.map((key) => key.kid)), 'must have distinct kids')
    .refine((keys) => keys.every(isKeyPair), 'must hold P-256 key pairs'),
)

const checkSecret = z.object({
  id: z.string().regex(/^[A-Za-z0-9_-]{1,32}$/, 'must be 1 to 32 letters, digits, - or _'),
  key: base64url({ min: 32, max: 1024 }, 'must be at least 32 bytes in base64url'),
})

const checkSecrets = json('a list: [{"id":"…","key":"…"}]').pipe(
  z
    .tuple([checkSecret], checkSecret)
    .transform((list): CheckSecrets => list)
    .refine((list) => hasDistinct(list.map((secret) => secret.id)), 'must have distinct ids'),
)

/** The least and the greatest value of each number. */
export const BOUNDS = {
  KEY_CACHE_SECONDS: [1, 60],
  KEY_STALE_SECONDS: [1, 3600],
  D1_TIMEOUT_MS: [100, 30_000],
  DEVICE_TOKEN_SECONDS: [60, 3600],
  REVOCATION_POLL_SECONDS: [1, 60],
  USER_MAX_DEVICES: [1, 100_000_000],
  DEVICE_MAX_KEYS: [1, 1000],
  CLAIM_MAX_PENDING: [1, 1_000_000],
  AUDIT_RETENTION_DAYS: [90, 3650],
  AUDIT_IP_DAYS: [7, 3650],
  METER_TIMEOUT_MS: [50, 30_000],
} as const satisfies Record<string, Bounds>

type Bounds = readonly [min: number, max: number]

/** Every variable and secret that the Worker reads, checked. wrangler.toml has the defaults. */
export const settingsSchema = z.object({
  PUBLIC_URL: publicUrl,
  REGISTRATION: z.enum(['closed', 'open']),
  KEY_PREFIX: z.string().regex(KEY_PREFIX_PATTERN, 'must match [a-z][a-z0-9]{1,11}'),
  KEY_CHECK: z.enum(['on', 'off']),
  KEY_CACHE_SECONDS: wholeNumber(BOUNDS.KEY_CACHE_SECONDS),
  KEY_STALE_SECONDS: wholeNumber(BOUNDS.KEY_STALE_SECONDS),
  D1_TIMEOUT_MS: wholeNumber(BOUNDS.D1_TIMEOUT_MS),
  ACCEPT_IMPORTED_KEYS: z.enum(['true', 'false']),
  DEVICE_TOKEN_SECONDS: wholeNumber(BOUNDS.DEVICE_TOKEN_SECONDS),
  DEVICE_TOKEN_AUDIENCES: audiences,
  REVOCATION_POLL_SECONDS: wholeNumber(BOUNDS.REVOCATION_POLL_SECONDS),
  RESERVED_SCOPES: scopePatterns,
  USER_MAX_DEVICES: wholeNumber(BOUNDS.USER_MAX_DEVICES),
  DEVICE_MAX_KEYS: wholeNumber(BOUNDS.DEVICE_MAX_KEYS),
  CLAIM_MAX_PENDING: wholeNumber(BOUNDS.CLAIM_MAX_PENDING),
  AUDIT_RETENTION_DAYS: wholeNumber(BOUNDS.AUDIT_RETENTION_DAYS),
  AUDIT_IP_DAYS: wholeNumber(BOUNDS.AUDIT_IP_DAYS),
  METER_TIMEOUT_MS: wholeNumber(BOUNDS.METER_TIMEOUT_MS),
  LIMITER_FAILURE: z.enum(['closed', 'open']),
  USAGE: z.enum(['all', 'metered', 'off']),
  PASSWORD_HASH: z.enum(['scrypt', 'pbkdf2']),
  CORS_ORIGINS: origins,
  LOG_REQUESTS: z.enum(['changes', 'all']),
  SIGNING_KEYS: signingKeys,
  KEY_CHECK_SECRETS: checkSecrets,
})

function wholeNumber([min, max]: Bounds) {
  const isWithin = (text: string) => Number(text) >= min && Number(text) <= max
  return z
    .string()
    .refine(
      (text) => /^\d{1,9}$/.test(text) && isWithin(text),
      `must be a whole number from ${min} to ${max}`,
    )
    .transform(Number)
}

/** Text that holds JSON. The parser's own message would quote the secret. */
function json(shape: string) {
  return z.string().transform((text, context): unknown => {
    try {
      return JSON.parse(text)
    } catch {
      context.addIssue({ code: 'custom', message: `must be ${shape}` })
      return z.NEVER
    }
  })
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text
}

function hasDistinct(values: readonly string[]): boolean {
  return new Set(values).size === values.length
}

import type { KeyRing } from './crypto/jwt.ts'
import type { CheckSecrets } from './crypto/key-check.ts'
import type { ReservedScopes } from './domain/scopes.ts'
import type * as z from 'zod'
import { settingsSchema } from './settings-schema.ts'

/** Raised where variables or secrets are missing or malformed. It names all, never their values. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
  /** What is wrong with each, after its name. */
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(faults.join('; '))
    this.faults = faults
  }
}

const names = settingsSchema.keyof().options

/** Lists whose default is to hold nothing. */
const MAY_BE_EMPTY: ReadonlySet<string> = new Set([
  'CORS_ORIGINS',
  'DEVICE_TOKEN_AUDIENCES',
  'RESERVED_SCOPES',
])

/** What the Worker runs with. */
export type Settings = {
  /** The origin under which clients reach this deployment; also the issuer of its tokens. */
  readonly publicUrl: string
  readonly registration: 'closed' | 'open'
  readonly keyPrefix: string
  /** `off` is for a lost check secret: then the stored hash alone decides. */
  readonly keyCheck: 'on' | 'off'
  /** How old a cached key may be while D1 answers: the bound on every revocation. */
  readonly keyCacheSeconds: number
  /** How old it may be while D1 fails. */
  readonly keyStaleSeconds: number
  readonly d1TimeoutMs: number
  /** Whether secrets that another system made are looked up. */
  readonly acceptImportedKeys: boolean
  readonly deviceTokenSeconds: number
  /** What device tokens may be for: the first by default. */
  readonly deviceTokenAudiences: readonly [string, ...string[]]
  /** How old the revocation feed may be: the bound on every end of a token. */
  readonly revocationPollSeconds: number
  /** Scopes that only admins may give to a key, and that no wildcard covers. */
  readonly reservedScopes: ReservedScopes
  /** How many devices a user may have who is no admin, unless their own `max_devices` says. */
  readonly userMaxDevices: number
  /** How many keys of a device may be neither revoked nor expired. */
  readonly deviceMaxKeys: number
  /** How many claims may wait for a decision at a time. */
  readonly claimMaxPending: number
  /** How long audit events are kept. */
  readonly auditRetentionDays: number
  /** How long audit events keep the caller's address. */
  readonly auditIpDays: number
  readonly meterTimeoutMs: number
  /** What happens to limited keys while their object does not answer: refused, or let through. */
  readonly limiterFailure: 'closed' | 'open'
  /** Which keys' verifies are counted. */
  readonly usage: 'all' | 'metered' | 'off'
  readonly passwordAlgorithm: 'scrypt' | 'pbkdf2'
  /** Origins whose pages may call; none: CORS is off. */
  readonly corsOrigins: readonly string[]
  readonly logRequests: 'changes' | 'all'
  readonly signingKeys: KeyRing
  readonly checkSecrets: CheckSecrets
}

let loaded: { readonly from: readonly unknown[]; readonly settings: Settings } | undefined

/**
 * The settings of this deployment, parsed once an isolate.
 * @throws SettingsError naming every variable and secret that is missing or malformed
 */
export function loadSettings(env: Env): Settings {
  const from = names.map((name) => env[name])
  if (loaded !== undefined && from.every((value, index) => value === loaded?.from[index])) {
    return loaded.settings
  }
  const settings = parseSettings(env)
  loaded = { from, settings }
  return settings
}

function parseSettings(env: Env): Settings {
  const parsed = settingsSchema.safeParse(env)
  const issues = parsed.success ? [] : parsed.error.issues
  const faults = names.flatMap((name) => {
    const value: unknown = env[name]
    if (isMissing(name, value)) return [`${name} is not set`]
    return issues.filter(({ path }) => path[0] === name).map((issue) => faultOf(issue, value))
  })
  if (!parsed.success || faults.length > 0) throw new SettingsError(faults)
  const { data } = parsed
  return {
    publicUrl: data.PUBLIC_URL,
    registration: data.REGISTRATION,
    keyPrefix: data.KEY_PREFIX,
    keyCheck: data.KEY_CHECK,
    keyCacheSeconds: data.KEY_CACHE_SECONDS,
    keyStaleSeconds: data.KEY_STALE_SECONDS,
    d1TimeoutMs: data.D1_TIMEOUT_MS,
    acceptImportedKeys: data.ACCEPT_IMPORTED_KEYS === 'true',
    deviceTokenSeconds: data.DEVICE_TOKEN_SECONDS,
    deviceTokenAudiences: audiencesOf(data.DEVICE_TOKEN_AUDIENCES, data.PUBLIC_URL),
    revocationPollSeconds: data.REVOCATION_POLL_SECONDS,
    reservedScopes: data.RESERVED_SCOPES,
    userMaxDevices: data.USER_MAX_DEVICES,
    deviceMaxKeys: data.DEVICE_MAX_KEYS,
    claimMaxPending: data.CLAIM_MAX_PENDING,
    auditRetentionDays: data.AUDIT_RETENTION_DAYS,
    auditIpDays: data.AUDIT_IP_DAYS,
    meterTimeoutMs: data.METER_TIMEOUT_MS,
    limiterFailure: data.LIMITER_FAILURE,
    usage: data.USAGE,
    passwordAlgorithm: data.PASSWORD_HASH,
    corsOrigins: data.CORS_ORIGINS,
    logRequests: data.LOG_REQUESTS,
    signingKeys: data.SIGNING_KEYS,
    checkSecrets: data.KEY_CHECK_SECRETS,
  }
}

type Name = (typeof names)[number]

function isMissing(name: Name, value: unknown): boolean {
  return value === undefined || (value === '' && !MAY_BE_EMPTY.has(name))
}

/** Where a setting is malformed, what is wrong there, and what was probably meant. */
function faultOf({ path, message }: z.core.$ZodIssue, value: unknown): string {
  const hint = typeof value === 'string' ? hintFor(value) : undefined
  return `${path.join('.')}: ${message}${hint === undefined ? '' : ` (${hint})`}`
}

/** The usual mistakes of pasting a value, and what mends each. */
const MISTAKES: readonly (readonly [pattern: RegExp, hint: string])[] = [
  [/^\w+=/, 'paste only what stands after the equals sign'],
  [/^\s|\s$/, 'remove the white space around the value'],
  [/^(['"]).*\1$/s, 'remove the quotes around the value'],
  [/-----BEGIN/, 'this is a PEM file: paste what npm run secrets prints'],
  [/^\d+ ?[a-z]+$/i, 'write the number without a unit'],
  [/^[\w-]+(\.[\w-]+)+$/, 'an address begins with https://'],
]

function hintFor(value: string): string | undefined {
  return MISTAKES.find(([pattern]) => pattern.test(value))?.[1]
}

/** This deployment is always among them: its own doors ask for tokens that name it. */
function audiencesOf(list: readonly string[], publicUrl: string): readonly [string, ...string[]] {
  const [first = publicUrl, ...rest] = list
  const isListed = first === publicUrl || rest.includes(publicUrl)
  return isListed ? [first, ...rest] : [first, ...rest, publicUrl]
}

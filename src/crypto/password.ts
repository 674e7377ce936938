import { pbkdf2Sync, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto'
import { normalizePassword } from '../domain/password-policy.ts'

/** Which functions can hash new passwords. Both verify, whatever the setting. */
export const PASSWORD_ALGORITHMS = ['scrypt', 'pbkdf2'] as const
export type PasswordAlgorithm = (typeof PASSWORD_ALGORITHMS)[number]

/** N = 2^14, r = 8, p = 5: OWASP's Password Storage Cheat Sheet, within an isolate's memory. */
const SCRYPT = { ln: 14, r: 8, p: 5 }
/** The most that the Workers platform allows. */
const PBKDF2_ITERATIONS = 100_000
const SALT_BYTES = 16
const HASH_BYTES = 32

/** Bounds on what a stored string may ask this isolate to compute. */
const SCRYPT_MAX = { ln: 15, r: 8, p: 5 }

/** What a hash made today begins with, as a PHC string does: the function and its parameters. */
const CURRENT = {
  scrypt: `$scrypt$ln=${SCRYPT.ln},r=${SCRYPT.r},p=${SCRYPT.p}`,
  pbkdf2: `$pbkdf2-sha256$i=${PBKDF2_ITERATIONS}`,
} as const satisfies Record<PasswordAlgorithm, string>

/**
 * Hashes a password into a PHC string (`$scrypt$ln=14,r=8,p=5$salt$hash`).
 * It blocks the isolate for some 150 ms (scrypt): charge a limiter first.
 */
export function hashPassword(password: string, algorithm: PasswordAlgorithm): string {
  const salt = randomBytes(SALT_BYTES)
  const hash =
    algorithm === 'scrypt'
      ? scrypt(password, salt, SCRYPT)
      : pbkdf2(password, salt, PBKDF2_ITERATIONS)
  return `${CURRENT[algorithm]}$${phcText(salt)}$${phcText(hash)}`
}

/** Whether exactly this text was hashed. A malformed hash matches nothing. */
export function verifyPassword(password: string, stored: string): boolean {
  const parsed = parsePhc(stored)
  if (parsed === undefined) return false
  const computed =
    parsed.algorithm === 'scrypt'
      ? scrypt(password, parsed.salt, parsed)
      : pbkdf2(password, parsed.salt, parsed.iterations)
  return computed.length === parsed.hash.length && timingSafeEqual(computed, parsed.hash)
}

/**
 * Whether a password matches a stored hash: normalized, as it is hashed today, or as given, as an
 * older version hashed it.
 */
export function matchPassword(
  given: string,
  stored: string,
): 'normalized' | 'as given' | undefined {
  const normalized = normalizePassword(given)
  if (verifyPassword(normalized, stored)) return 'normalized'
  return normalized !== given && verifyPassword(given, stored) ? 'as given' : undefined
}

/**
 * `matchPassword` for somebody who signs in. A failure costs one hash by each of these algorithms,
 * whatever made the stored hash, and without a stored hash as well. So the time of a failure does
 * not tell which accounts exist.
 */
export function matchAtCost(
  given: string,
  stored: string | undefined,
  algorithms: readonly PasswordAlgorithm[],
): ReturnType<typeof matchPassword> {
  const match = stored === undefined ? undefined : matchPassword(given, stored)
  if (match !== undefined) return match
  const spent = parsePhc(stored ?? '')?.algorithm
  for (const algorithm of algorithms) {
    if (algorithm !== spent) matchPassword(given, decoyHash(algorithm))
  }
  return undefined
}

/** How a hash begins that is made today: the function and its parameters. */
export function hashStart(algorithm: PasswordAlgorithm): string {
  return `${CURRENT[algorithm]}$`
}

/** Whether a stored hash was made with other parameters than today's. */
export function needsRehash(stored: string, algorithm: PasswordAlgorithm): boolean {
  return !stored.startsWith(hashStart(algorithm))
}

/** A hash that no password has. To check a password against it costs what a real hash costs. */
export function decoyHash(algorithm: PasswordAlgorithm): string {
  const [salt, hash] = [Buffer.alloc(SALT_BYTES), Buffer.alloc(HASH_BYTES)]
  return `${hashStart(algorithm)}${phcText(salt)}$${phcText(hash)}`
}

type ParsedPhc = { readonly salt: Buffer; readonly hash: Buffer } & (
  | { readonly algorithm: 'scrypt'; readonly ln: number; readonly r: number; readonly p: number }
  | { readonly algorithm: 'pbkdf2'; readonly iterations: number }
)

function parsePhc(stored: string): ParsedPhc | undefined {
  const [empty, name, parameters = '', saltText = '', hashText = '', ...rest] = stored.split('$')
  const common = { salt: Buffer.from(saltText, 'base64'), hash: Buffer.from(hashText, 'base64') }
  if (empty !== '' || rest.length > 0) return undefined
  if (common.salt.length === 0 || common.hash.length !== HASH_BYTES) return undefined
  if (name === 'scrypt') {
    const match = /^ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})$/.exec(parameters)
    const [ln, r, p] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3])]
    if (!isWithin(ln, SCRYPT_MAX.ln) || !isWithin(r, SCRYPT_MAX.r) || !isWithin(p, SCRYPT_MAX.p)) {
      return undefined
    }
    return { algorithm: 'scrypt', ln, r, p, ...common }
  }
  if (name === 'pbkdf2-sha256') {
    const iterations = Number(/^i=(\d{1,6})$/.exec(parameters)?.[1])
    if (!isWithin(iterations, PBKDF2_ITERATIONS)) return undefined
    return { algorithm: 'pbkdf2', iterations, ...common }
  }
  return undefined
}

function isWithin(value: number, max: number): boolean {
  return value >= 1 && value <= max
}

function scrypt(
  password: string,
  salt: Buffer,
  cost: { ln: number; r: number; p: number },
): Buffer {
  const N = 2 ** cost.ln
  const maxmem = 128 * N * cost.r + 128 * cost.r * cost.p + 1024 * 1024
  return scryptSync(password, salt, HASH_BYTES, { N, r: cost.r, p: cost.p, maxmem })
}

function pbkdf2(password: string, salt: Buffer, iterations: number): Buffer {
  return pbkdf2Sync(password, salt, iterations, HASH_BYTES, 'sha256')
}

/** PHC strings use base64 without padding. */
function phcText(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}

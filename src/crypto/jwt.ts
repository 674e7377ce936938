import { createPrivateKey, createPublicKey, createSign, createVerify } from 'node:crypto'
import { verify } from 'hono/jwt'
import { TOKEN_MAX_CHARACTERS } from '../domain/device-token.ts'
import { err, ok, type Result } from '../domain/result.ts'
import { SECOND_MS } from '../domain/time.ts'

/** A private EC key of the ring, as in the secret SIGNING_KEYS (RFC 7517). */
export type SigningKey = {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly alg: 'ES256'
  readonly kid: string
  readonly x: string
  readonly y: string
  readonly d: string
}

/** The signing keys in force: the first signs, all of them verify, `kid` picks. */
export type KeyRing = readonly [SigningKey, ...SigningKey[]]

type VerifiedClaims = {
  readonly sub: string
  readonly iat: number
  readonly exp: number
  readonly [claim: string]: unknown
}

/** Whether the two halves of a key are points of the curve and belong together. Synchronous. */
export function isKeyPair(key: SigningKey): boolean {
  const { kty, crv, x, y, d } = key
  try {
    const probe = Buffer.from('probe')
    const signature = createSign('sha256')
      .update(probe)
      .sign(createPrivateKey({ key: { kty, crv, x, y, d }, format: 'jwk' }))
    const publicKey = createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' })
    return createVerify('sha256').update(probe).verify(publicKey, signature)
  } catch {
    return false
  }
}

/** How far another clock may be ahead of ours. */
const CLOCK_LEEWAY_SECONDS = 60

/** What a token says that it is: a device's access token (RFC 9068 §2.1), or a user's. */
export type TokenType = 'at+jwt' | 'JWT'

const CURVE = { name: 'ECDSA', namedCurve: 'P-256' }
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' }

/** Imported once an isolate. CryptoKeys, unlike promises, may be shared between requests. */
const publicKeys = new WeakMap<SigningKey, CryptoKey>()
const privateKeys = new WeakMap<SigningKey, CryptoKey>()

async function publicKey(key: SigningKey): Promise<CryptoKey> {
  const { kty, crv, x, y } = key
  return await importedOnce(publicKeys, key, { kty, crv, x, y }, 'verify')
}

async function privateKey(key: SigningKey): Promise<CryptoKey> {
  const { kty, crv, x, y, d } = key
  return await importedOnce(privateKeys, key, { kty, crv, x, y, d }, 'sign')
}

async function importedOnce(
  known: WeakMap<SigningKey, CryptoKey>,
  key: SigningKey,
  jwk: JsonWebKey,
  use: 'sign' | 'verify',
): Promise<CryptoKey> {
  const before = known.get(key)
  if (before !== undefined) return before
  const made = await crypto.subtle.importKey('jwk', jwk, CURVE, false, [use])
  known.set(key, made)
  return made
}

/**
 * Signs with the ring's first key, whose `kid` goes into the header (RFC 7515 §3.1). By itself,
 * since hono's `sign` always writes the type `JWT`.
 */
export async function signToken(
  claims: Record<string, unknown>,
  [key]: KeyRing,
  typ: TokenType,
): Promise<string> {
  const signed = `${encodePart({ alg: key.alg, typ, kid: key.kid })}.${encodePart(claims)}`
  const bytes = new TextEncoder().encode(signed)
  const signature = await crypto.subtle.sign(SIGNATURE, await privateKey(key), bytes)
  return `${signed}.${Buffer.from(signature).toString('base64url')}`
}

function encodePart(part: Record<string, unknown>): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

/** What a token must be of: one of our keys, our issuer, one of the audiences, one of the types. */
export type Expected = {
  readonly ring: KeyRing
  readonly issuer: string
  readonly audiences: readonly string[]
  readonly types: readonly TokenType[]
  /** For who looks at `exp` itself; the claim must still be there. */
  readonly allowExpired?: boolean
}

/**
 * Verifies a token's signature and its registered claims (RFC 7519 §4.1), all of which it must
 * have. `invalid` says no more on purpose, and nothing here throws: hono/jwt's errors hold the
 * whole token.
 * @param now milliseconds
 */
export async function verifyToken(
  token: string,
  expected: Expected,
  now: number,
): Promise<Result<VerifiedClaims, 'invalid' | 'expired'>> {
  if (token.length > TOKEN_MAX_CHARACTERS) return err('invalid')
  const kid = headerField(token, 'kid')
  const key = expected.ring.find((candidate) => candidate.kid === kid)
  if (key === undefined) return err('invalid')
  const claims = await verifiedPayload(token, await publicKey(key), expected)
  if (claims === undefined) return err('invalid')

  // Our own checks: hono/jwt takes a token without exp, and refuses an iat one second ahead.
  const { sub, iat, exp, nbf } = claims
  const seconds = Math.floor(now / SECOND_MS)
  if (typeof sub !== 'string' || sub === '') return err('invalid')
  if (!isNumericDate(iat) || iat > seconds + CLOCK_LEEWAY_SECONDS) return err('invalid')
  if (nbf !== undefined && !(isNumericDate(nbf) && nbf <= seconds + CLOCK_LEEWAY_SECONDS)) {
    return err('invalid')
  }
  if (!isNumericDate(exp)) return err('invalid')
  if (seconds >= exp && expected.allowExpired !== true) return err('expired')
  return ok({ ...claims, sub, iat, exp })
}

async function verifiedPayload(
  token: string,
  key: CryptoKey,
  expected: Expected,
): Promise<Record<string, unknown> | undefined> {
  try {
    return await verify(token, key, {
      alg: 'ES256',
      iss: expected.issuer,
      aud: [...expected.audiences],
      typ: [...expected.types],
      exp: false,
      iat: false,
      nbf: false,
    })
  } catch {
    return undefined
  }
}

/** The type that a token's header says; believe it of verified tokens only. */
export function typeOf(token: string): unknown {
  return headerField(token, 'typ')
}

function headerField(token: string, name: 'kid' | 'typ'): unknown {
  try {
    const text = Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString()
    const header: unknown = JSON.parse(text)
    if (typeof header !== 'object' || header === null) return undefined
    return new Map<string, unknown>(Object.entries(header)).get(name)
  } catch {
    return undefined
  }
}

function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

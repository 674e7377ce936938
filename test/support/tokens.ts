import { createHmac } from 'node:crypto'
import { env } from 'cloudflare:workers'
import { type KeyRing, signToken, type TokenType, type SigningKey } from '../../src/crypto/jwt.ts'
import { makeSecret } from '../../src/crypto/secrets.ts'
import { loadSettings } from '../../src/settings.ts'

type Claims = Record<string, unknown>

const settings = loadSettings(env)

/** What a token claims, unverified. */
export function claimsOf(token: string): Claims {
  const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  if (typeof claims !== 'object' || claims === null) throw new Error('no claims')
  return { ...claims }
}

/** What a token says that it is. */
function typeOf(token: string): TokenType {
  const header = Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()
  return header.includes('at+jwt') ? 'at+jwt' : 'JWT'
}

/** The token's claims with changes, well signed. A change to undefined leaves the claim out. */
export async function resigned(
  token: string,
  changes: Claims,
  ring: KeyRing = settings.signingKeys,
): Promise<string> {
  return await signToken({ ...claimsOf(token), ...changes }, ring, typeOf(token))
}

/** The token under another type, well signed. undefined leaves the type out. */
export async function retyped(
  token: string,
  typ: unknown,
  claims: Claims = claimsOf(token),
): Promise<string> {
  const [{ kty, crv, x, y, d, alg, kid }] = settings.signingKeys
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('jwk', { kty, crv, x, y, d }, algorithm, false, [
    'sign',
  ])
  const signed = `${encode({ alg, typ, kid })}.${encode(claims)}`
  const signature = await crypto.subtle.sign(algorithm, key, Buffer.from(signed))
  return `${signed}.${Buffer.from(signature).toString('base64url')}`
}

/** Signed by a key that is not ours, under the name of one that is, or of none. */
export async function signedByStranger(token: string, kid = ownKid()): Promise<string> {
  return await resigned(token, {}, [await strangersKey(kid)])
}

export function ownKid(): string {
  return settings.signingKeys[0].kid
}

/** A signing key that is in no ring of ours. */
export async function strangersKey(kid: string): Promise<SigningKey> {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])
  if (!('privateKey' in pair)) throw new Error('not a pair')
  const jwk = await crypto.subtle.exportKey('jwk', pair.privateKey)
  if (!('x' in jwk)) throw new Error('not a JWK')
  const { x = '', y = '', d = '' } = jwk
  return { kty: 'EC', crv: 'P-256', alg: 'ES256', kid, x, y, d }
}

/** The same claims under another header, unsigned or with an HMAC under our public key. */
export function withAlgorithm(token: string, alg: 'none' | 'HS256' | 'RS256'): string {
  const [, payload = '', signature = ''] = token.split('.')
  const header = encode({ alg, typ: 'JWT', kid: ownKid() })
  if (alg === 'none') return `${header}.${payload}.`
  if (alg === 'RS256') return `${header}.${payload}.${signature}`
  const { x, y } = settings.signingKeys[0]
  const publicBytes = Buffer.concat([
    Buffer.of(4),
    Buffer.from(x, 'base64url'),
    Buffer.from(y, 'base64url'),
  ])
  const mac = createHmac('sha256', publicBytes).update(`${header}.${payload}`).digest('base64url')
  return `${header}.${payload}.${mac}`
}

/** Other claims under the token's own signature. */
export function tampered(token: string, changes: Claims): string {
  const [header = '', , signature = ''] = token.split('.')
  return `${header}.${encode({ ...claimsOf(token), ...changes })}.${signature}`
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** The same secret with another last character: right shape, wrong check. */
export function forgedFrom(secret: string): string {
  return secret.slice(0, -1) + (secret.endsWith('0') ? '1' : '0')
}

/** A secret whose check is genuine and that was never handed out. */
export async function unissuedSecret(): Promise<string> {
  return (await makeSecret(settings.keyPrefix, settings.checkSecrets)).secret
}

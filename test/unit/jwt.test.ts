import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { signToken, verifyToken, type KeyRing, type SigningKey } from '../../src/crypto/jwt.ts'

const ISSUER = 'https://latchkey.example'
const AUDIENCE = 'urn:latchkey:users'
const SECONDS = 1_800_000_000
/** In the last millisecond of its second: what is rounded up is noticed. */
const NOW = SECONDS * 1000 + 999
const CLAIMS = { iss: ISSUER, aud: AUDIENCE, sub: 'user_1', iat: SECONDS, exp: SECONDS + 900 }
const INVALID = { ok: false, reason: 'invalid' }
const EXPIRED = { ok: false, reason: 'expired' }

type TestKey = { readonly jwk: SigningKey; readonly privateKey: CryptoKey }
type Json = Readonly<Record<string, unknown>>

async function makeKey(kid: string): Promise<TestKey> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  if (!('privateKey' in pair)) throw new Error('no key pair')
  const jwk = await crypto.subtle.exportKey('jwk', pair.privateKey)
  if (jwk instanceof ArrayBuffer) throw new Error('no JWK')
  const { x = '', y = '', d = '' } = jwk
  return {
    jwk: { kty: 'EC', crv: 'P-256', alg: 'ES256', kid, x, y, d },
    privateKey: pair.privateKey,
  }
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const unpart = (text = ''): unknown => JSON.parse(Buffer.from(text, 'base64url').toString())

/** Signs as anyone with the key could: an undefined member is left out. */
async function forge(header: Json, claims: unknown, key: CryptoKey): Promise<string> {
  const signed = `${part(header)}.${part(claims)}`
  const algorithm = { name: 'ECDSA', hash: 'SHA-256' }
  const signature = await crypto.subtle.sign(algorithm, key, Buffer.from(signed))
  return `${signed}.${Buffer.from(signature).toString('base64url')}`
}

async function forgeHmac(header: Json, secret: Uint8Array): Promise<string> {
  const signed = `${part(header)}.${part(CLAIMS)}`
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign'])
  const signature = await crypto.subtle.sign('HMAC', key, Buffer.from(signed))
  return `${signed}.${Buffer.from(signature).toString('base64url')}`
}

/** Flips the top bit of a part's character, so that the bytes it stands for change. */
function tamper(token: string, index: number, place: number): string {
  const parts = token.split('.')
  const text = parts[index] ?? ''
  const other = text.charAt(place) === 'A' ? 'z' : 'A'
  parts[index] = text.slice(0, place) + other + text.slice(place + 1)
  return parts.join('.')
}

let first: TestKey
let second: TestKey
let stranger: TestKey
let ring: KeyRing
const HEADER = { alg: 'ES256', typ: 'JWT', kid: 'first' }

beforeAll(async () => {
  first = await makeKey('first')
  second = await makeKey('second')
  stranger = await makeKey('first')
  ring = [first.jwk, second.jwk]
})

const verify = async (token: string, now = NOW) =>
  await verifyToken(token, { ring, issuer: ISSUER, audiences: [AUDIENCE], types: ['JWT'] }, now)

/** The outcome for a token that the first key truly signed. */
const verifySigned = async (header: Json, claims: Json, now = NOW) =>
  await verify(
    await forge({ ...HEADER, ...header }, { ...CLAIMS, ...claims }, first.privateKey),
    now,
  )

describe('signToken', () => {
  it('signs with the first key of the ring, which it names', async () => {
    const token = await signToken({ ...CLAIMS, sid: 'sess_1' }, ring, 'JWT')
    const [header, payload, ...more] = token.split('.')
    expect(unpart(header)).toEqual(HEADER)
    expect(unpart(payload)).toEqual({ ...CLAIMS, sid: 'sess_1' })
    expect(more).toHaveLength(1)
    expect(await verify(token)).toEqual({ ok: true, value: { ...CLAIMS, sid: 'sess_1' } })
    expect(token).not.toContain(first.jwk.d)
  })

  it('makes nothing that another ring verifies', async () => {
    expect(await verify(await signToken(CLAIMS, [stranger.jwk], 'JWT'))).toEqual(INVALID)
    expect(await verify(await signToken(CLAIMS, [second.jwk], 'JWT'))).toMatchObject({ ok: true })
  })
})

describe('verifyToken', () => {
  it('takes what any key of the ring has signed, under its own kid only', async () => {
    const { privateKey } = second
    const own = await forge({ ...HEADER, kid: 'second' }, CLAIMS, privateKey)
    expect(await verify(own)).toEqual({ ok: true, value: CLAIMS })
    expect(await verify(await forge(HEADER, CLAIMS, privateKey))).toEqual(INVALID)
  })

  it('refuses one of more than 16,384 characters, though its signature is right', async () => {
    expect(await verifySigned({}, { more: 'x'.repeat(11_900) })).toMatchObject({ ok: true })
    expect(await verifySigned({}, { more: 'x'.repeat(12_200) })).toEqual(INVALID)
  })

  it.each<[string, Json, Json]>([
    ['an audience among others', {}, { aud: ['urn:else', AUDIENCE] }],
    ['iat 60 seconds ahead', {}, { iat: SECONDS + 60 }],
    ['nbf now', {}, { nbf: SECONDS }],
    ['nbf 60 seconds ahead', {}, { nbf: SECONDS + 60 }],
    ['exp a second ahead', {}, { exp: SECONDS + 1 }],
    ['claims of its own', {}, { sid: 'sess_1', role: null }],
  ])('takes %s', async (_, header, claims) => {
    const expected = { ok: true, value: { ...CLAIMS, ...claims } }
    expect(await verifySigned(header, claims)).toEqual(expected)
  })

  it.each<[string, Json, Json]>([
    ['alg none', { alg: 'none' }, {}],
    ['alg HS256', { alg: 'HS256' }, {}],
    ['alg ES384', { alg: 'ES384' }, {}],
    ['alg RS256', { alg: 'RS256' }, {}],
    ['alg in small letters', { alg: 'es256' }, {}],
    ['no alg', { alg: undefined }, {}],
    ['alg null', { alg: null }, {}],
    ['alg as a list', { alg: ['ES256'] }, {}],
    ['no kid', { kid: undefined }, {}],
    ['an unknown kid', { kid: 'third' }, {}],
    ['an empty kid', { kid: '' }, {}],
    ['a kid as a list', { kid: ['first'] }, {}],
    ['a kid from the prototype', { kid: '__proto__' }, {}],
    ['a critical extension (RFC 7515 §4.1.11)', { crit: ['exp'], exp: 1 }, {}],
    ['no exp', {}, { exp: undefined }],
    ['exp as text', {}, { exp: String(SECONDS + 900) }],
    ['exp null', {}, { exp: null }],
    ['no iat', {}, { iat: undefined }],
    ['iat as text', {}, { iat: String(SECONDS) }],
    ['iat 61 seconds ahead', {}, { iat: SECONDS + 61 }],
    ['nbf 61 seconds ahead', {}, { nbf: SECONDS + 61 }],
    ['nbf as text', {}, { nbf: '0' }],
    ['nbf null', {}, { nbf: null }],
    ['no sub', {}, { sub: undefined }],
    ['an empty sub', {}, { sub: '' }],
    ['sub as a number', {}, { sub: 1 }],
    ['no iss', {}, { iss: undefined }],
    ['another iss', {}, { iss: 'https://else.example' }],
    ['iss with a slash more', {}, { iss: `${ISSUER}/` }],
    ['iss as a list', {}, { iss: [ISSUER] }],
    ['no aud', {}, { aud: undefined }],
    ['another aud', {}, { aud: 'urn:latchkey:devices' }],
    ['an aud that ours begins', {}, { aud: `${AUDIENCE}:more` }],
    ['an aud that begins ours', {}, { aud: 'urn:latchkey' }],
    ['auds without ours', {}, { aud: ['urn:else', 'urn:latchkey:devices'] }],
    ['no auds', {}, { aud: [] }],
    ['auds in a list', {}, { aud: [[AUDIENCE]] }],
  ])('refuses %s, though truly signed', async (_, header, claims) => {
    expect(await verifySigned(header, claims)).toEqual(INVALID)
  })

  it('says expired from exp on, of nothing but a good token', async () => {
    expect(await verifySigned({}, { exp: SECONDS })).toEqual(EXPIRED)
    expect(await verifySigned({}, { exp: 0 })).toEqual(EXPIRED)
    expect(await verifySigned({}, {}, (SECONDS + 900) * 1000 - 1)).toMatchObject({ ok: true })
    expect(await verifySigned({}, {}, (SECONDS + 900) * 1000)).toEqual(EXPIRED)
    expect(await verifySigned({}, { exp: 0, aud: 'urn:else' })).toEqual(INVALID)
    expect(await verifySigned({}, { exp: 0, sub: '' })).toEqual(INVALID)
    const expired = await forge(HEADER, { ...CLAIMS, exp: 0 }, stranger.privateKey)
    expect(await verify(expired)).toEqual(INVALID)
  })

  it('refuses HMAC with the public key for a secret', async () => {
    const { kty, crv, x, y } = first.jwk
    const raw = Buffer.concat([
      Buffer.from([4]),
      Buffer.from(x, 'base64url'),
      Buffer.from(y, 'base64url'),
    ])
    const publicKey = { name: 'ECDSA', namedCurve: 'P-256' }
    const key = await crypto.subtle.importKey('raw', raw, publicKey, true, ['verify'])
    const spki = await crypto.subtle.exportKey('spki', key)
    if (!(spki instanceof ArrayBuffer)) throw new Error('no SPKI')
    const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(spki).toString('base64')}\n-----END PUBLIC KEY-----\n`
    const jwkText = JSON.stringify({ kty, crv, x, y })
    for (const secret of [raw, Buffer.from(spki), Buffer.from(pem), Buffer.from(jwkText)]) {
      for (const alg of ['HS256', 'ES256']) {
        expect(await verify(await forgeHmac({ ...HEADER, alg }, secret))).toEqual(INVALID)
      }
    }
  })

  it('refuses an unsigned, a stripped and a tampered token', async () => {
    const good = await forge(HEADER, CLAIMS, first.privateKey)
    const [header = '', payload = '', signature = ''] = good.split('.')
    const none = part({ alg: 'none', kid: 'first' })
    const admin = part({ ...CLAIMS, sub: 'user_2' })
    const patterns =
      'n.p. n.p n.p.s h.p h.p. h..s .p.s h.p.s. h.p.s.s .h.p.s h.a.s p.h.s h.p.c h.p.z h.p.sAAAA'
    const parts: Record<string, string> = { n: none, h: header, p: payload, s: signature }
    Object.assign(parts, { a: admin, c: signature.slice(0, -4), z: 'A'.repeat(signature.length) })
    for (const pattern of patterns.split(' ')) {
      const token = pattern.replaceAll(/[a-z]/g, (part) => parts[part] ?? '')
      expect(await verify(token), pattern).toEqual(INVALID)
    }
    for (const index of [1, 2]) {
      for (const place of [0, 7, 20, 42, 60]) {
        expect(await verify(tamper(good, index, place))).toEqual(INVALID)
      }
    }
    expect(await verify(good)).toEqual({ ok: true, value: CLAIMS })
  })

  it('refuses a signed payload that is no object', async () => {
    for (const claims of [null, [], 'text', 1, true, [CLAIMS]]) {
      expect(await verify(await forge(HEADER, claims, first.privateKey))).toEqual(INVALID)
    }
  })

  it('never throws, and says nothing but invalid', async () => {
    const start = part(HEADER)
    const fixed = ['', '.', '..', '...', 'x', start, `${start}.`, `${start}..`, 'null', 'bnVsbA..']
    for (const token of [...fixed, 'x'.repeat(100_000), `${start}.${'e30'.repeat(50_000)}.AAAA`]) {
      expect(await verify(token)).toEqual(INVALID)
    }
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .tuple(
          fc.json().map((text) => part(text)),
          fc.base64String(),
          fc.base64String(),
        )
        .map((parts) => parts.join('.')),
      fc
        .tuple(fc.jsonValue().map(part), fc.string())
        .map(([claims, end]) => `${start}.${claims}.${end}`),
    )
    await fc.assert(
      fc.asyncProperty(hostile, async (token) => {
        expect(await verify(token)).toEqual(INVALID)
      }),
      { numRuns: 300 },
    )
  })
})

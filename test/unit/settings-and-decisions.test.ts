import { env } from 'cloudflare:workers'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evaluateKey, type KeyPolicySnapshot } from '../../src/domain/evaluate-key.ts'
import { isProblemCode, problemOfDenial, PROBLEMS } from '../../src/domain/problems.ts'
import { loadSettings, SettingsError } from '../../src/settings.ts'

/** The test's environment with other values; undefined takes one away. */
function envWith(values: Readonly<Record<string, unknown>>): Env {
  const copy = { ...env }
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) Reflect.deleteProperty(copy, name)
    else Reflect.set(copy, name, value)
  }
  return copy
}

function refusal(name: string, value: unknown): SettingsError {
  try {
    loadSettings(envWith({ [name]: value }))
  } catch (thrown) {
    if (thrown instanceof SettingsError) return thrown
    throw thrown
  }
  throw new Error(`${name} may be ${JSON.stringify(value)}`)
}

/** Stands in malformed values; no message may hold it. */
const M = 'Zq7MARKER'
const BYTES = Buffer.alloc(32, 1).toString('base64url')
const KEY = { ...loadSettings(env).signingKeys[0], kid: M }
const SECRET = { id: M, key: BYTES }
const key = (change: object) => ({ ...KEY, ...change })
const keys = (...ring: object[]) => JSON.stringify({ keys: ring })
const secret = (change: object) => ({ ...SECRET, ...change })
const secrets = (...list: object[]) => JSON.stringify(list)

/** Texts without spaces, one after the other. */
const each = (texts: string) => texts.split(' ')

const faults: object[] = [{ kty: M }, { crv: 'P-384' }, { alg: M }, { d: undefined }, { x: M }]
const unpaired = [{ x: BYTES, y: BYTES }, { d: BYTES }]
const keyFaults = [
  ...faults,
  ...unpaired,
  { kid: '' },
  { y: `${KEY.y}AA` },
  { d: `${M}!${BYTES}`.slice(0, 43) },
]
const unnamed = [{ id: '' }, { id: `${M} ` }, { id: 'x'.repeat(33) }, { id: 1 }, { key: undefined }]
const secretFaults = [...unnamed, ...[M, BYTES.slice(0, 42), `${BYTES}=`].map((key) => ({ key }))]

const MALFORMED: Record<string, string[]> = {
  PUBLIC_URL: [
    ...each(`https://a.example/${M} https://a.example/?${M} https://a.example/#${M} https://a//`),
    ...each(`https://${M}@a.example ftp://a.example javascript:alert("${M}") https://a/?`),
    ...each(`${M} latchkey.example //x ://`),
  ],
  REGISTRATION: each(`open${M} OPEN true`),
  KEY_PREFIX: [...each(`${M} l LK 1k lk_ abcdefghijklm`), 'lk\n'],
  KEY_CHECK: each(`${M} true ON`),
  KEY_CACHE_SECONDS: each(`${M} 0 61 1.5 -1 1e1 0x10 Infinity 9999999999`),
  KEY_STALE_SECONDS: each(`${M} 0 3601`),
  D1_TIMEOUT_MS: each(`${M} 99 30001`),
  ACCEPT_IMPORTED_KEYS: each(`${M} on 1`),
  METER_TIMEOUT_MS: each(`${M} 49 30001`),
  LIMITER_FAILURE: each(`${M} fail`),
  USAGE: each(`${M} on`),
  PASSWORD_HASH: each(`${M} argon2 SCRYPT`),
  LOG_REQUESTS: each(`${M} none`),
  CORS_ORIGINS: [
    ...each(`* null ${M} https://b/${M} https://b.example/ https://b,${M} file:///b`),
    `https://b.example ${M}`,
  ],
  SIGNING_KEYS: [
    ...each(`${M} {"keys":[{"d":"${M} "${M}" null [] {} {"keys":{}} {"keys":null} {"${M}":1}`),
    ...each(`[${keys(KEY)}] ${JSON.stringify(KEY)} ${keys()} ${keys(KEY, KEY)} ${keys(KEY)},`),
    ...keyFaults.map((fault) => keys(key(fault))),
    ...keyFaults.map((fault) => keys(key({ kid: 'b' }), key(fault))),
  ],
  KEY_CHECK_SECRETS: [
    ...each(`${M} [{"id":"a","key":"${M} "${M}" null [] {} [[]] {"${M}":1}`),
    ...each(`${JSON.stringify(SECRET)} ${secrets(SECRET, SECRET)} ${secrets(SECRET)},`),
    ...secretFaults.map((fault) => secrets(secret(fault))),
    ...secretFaults.map((fault) => secrets({ id: 'a', key: BYTES }, secret(fault))),
  ],
}

describe('settings', () => {
  it.each([
    [{ PUBLIC_URL: 'http://localhost:8787' }, { publicUrl: 'http://localhost:8787' }],
    [{ PUBLIC_URL: 'https://a.example/' }, { publicUrl: 'https://a.example' }],
    [{ REGISTRATION: 'closed' }, { registration: 'closed' }],
    [{ KEY_PREFIX: 'abcdefghijk2' }, { keyPrefix: 'abcdefghijk2' }],
    [{ KEY_CHECK: 'off' }, { keyCheck: 'off' }],
    [{ KEY_CACHE_SECONDS: '60' }, { keyCacheSeconds: 60 }],
    [{ KEY_STALE_SECONDS: '3600' }, { keyStaleSeconds: 3600 }],
    [{ D1_TIMEOUT_MS: '100' }, { d1TimeoutMs: 100 }],
    [{ ACCEPT_IMPORTED_KEYS: 'true' }, { acceptImportedKeys: true }],
    [{ PASSWORD_HASH: 'pbkdf2' }, { passwordAlgorithm: 'pbkdf2' }],
    [{ LOG_REQUESTS: 'all' }, { logRequests: 'all' }],
    [{ CORS_ORIGINS: ' , ' }, { corsOrigins: [] }],
    [{ CORS_ORIGINS: ' https://b:84 ,http://c,' }, { corsOrigins: ['https://b:84', 'http://c'] }],
    [{ SIGNING_KEYS: keys(key({ alg: undefined, use: 'sig' })) }, { signingKeys: [KEY] }],
    [{ SIGNING_KEYS: keys(KEY, key({ kid: 'b' })) }, { signingKeys: [KEY, key({ kid: 'b' })] }],
    [
      { KEY_CHECK_SECRETS: secrets(SECRET, { id: 'b', key: `${BYTES}AA`, note: 'n' }) },
      { checkSecrets: [SECRET, { id: 'b', key: `${BYTES}AA` }] },
    ],
  ])('follow %j', (values, changed) => {
    const settings = loadSettings(envWith({ ACCEPT_IMPORTED_KEYS: 'false' }))
    expect(loadSettings(envWith({ ACCEPT_IMPORTED_KEYS: 'false', ...values }))).toEqual({
      ...settings,
      ...changed,
    })
  })

  it('are parsed once for the same values, also after others were refused', () => {
    const settings = loadSettings(env)
    expect(loadSettings({ ...env })).toBe(settings)
    refusal('KEY_CHECK', 'maybe')
    expect(loadSettings({ ...env })).toBe(settings)
    const others = loadSettings(envWith({ LOG_REQUESTS: 'all' }))
    expect(others).not.toBe(settings)
    expect(loadSettings(envWith({ LOG_REQUESTS: 'all' }))).toBe(others)
    expect(loadSettings(env)).toEqual(settings)
  })

  it.each(Object.keys(MALFORMED))('%s must be set', (name) => {
    expect(refusal(name, undefined).message).toBe(`${name} is not set`)
    // An empty list of origins is how CORS is off.
    if (name === 'CORS_ORIGINS') expect(loadSettings(envWith({ [name]: '' }))).toBeDefined()
    else expect(refusal(name, '').message).toBe(`${name} is not set`)
  })

  it.each(Object.entries(MALFORMED))('%s: malformed is named, not quoted', (name, values) => {
    for (const value of [...values, { [M]: M }, [M]]) {
      const { message, stack, cause } = refusal(name, value)
      expect(message).toMatch(new RegExp(`^${name}(\\.[a-z0-9]+)*: \\S`))
      expect(message).not.toContain(BYTES)
      expect(`${message} ${stack} ${String(cause)}`).not.toContain(M)
    }
  })
})

const NOW = 1_800_000_000_000

type Marks = 'secretRevoked' | 'keyRevoked' | 'secretEnd' | 'keyEnd' | 'key' | 'device' | 'owner'

/** Zero, a time like any other, stands for one in the past where a test does not say. */
function snapshot(marks: Partial<Record<Marks, number>>) {
  const key = {
    id: 'key_1',
    name: 'first',
    scopes: ['telemetry:write'],
    expiresAt: marks.keyEnd ?? null,
    disabledAt: marks.key ?? null,
    revokedAt: marks.keyRevoked ?? null,
    limits: { rateLimit: null, quota: null },
  }
  const policy: KeyPolicySnapshot = {
    key,
    device: { id: 'dev_1', name: 'Door', disabledAt: marks.device ?? null },
    owner: { id: 'user_1', role: 'user', disabledAt: marks.owner ?? null },
  }
  const secret = {
    expiresAt: marks.secretEnd ?? null,
    revokedAt: marks.secretRevoked ?? null,
    isRetiredUseNoted: false,
  }
  return { secret, ownerId: 'user_1', policy }
}

describe('evaluateKey', () => {
  it('allows what has no end, and what ends in a millisecond', () => {
    for (const given of [snapshot({}), snapshot({ secretEnd: NOW + 1, keyEnd: NOW + 1 })]) {
      expect(evaluateKey(given, [], NOW)).toEqual({ ok: true, value: given.policy })
    }
  })

  it.each<[string, Marks, number]>([
    ['revoked', 'secretRevoked', 0],
    ['revoked', 'keyRevoked', 0],
    ['revoked', 'keyRevoked', NOW],
    ['expired', 'secretEnd', NOW],
    ['expired', 'keyEnd', NOW],
    ['expired', 'secretEnd', 0],
    ['expired', 'keyEnd', NOW - 1],
    ['disabled', 'key', 0],
    ['disabled', 'device', 0],
    ['disabled', 'owner', 0],
  ])('%s by %s at %d', (reason, mark, at) => {
    expect(evaluateKey(snapshot({ [mark]: at }), ['other'], NOW)).toEqual({ ok: false, reason })
  })

  it('says revoked before expired before disabled, whatever comes together', () => {
    const order: [string, Marks[]][] = [
      ['revoked', ['secretRevoked', 'keyRevoked']],
      ['expired', ['secretEnd', 'keyEnd']],
      ['disabled', ['key', 'device', 'owner']],
    ]
    const all = order.flatMap(([, marks]) => marks)
    fc.assert(
      fc.property(fc.subarray(all, { minLength: 1 }), (marks) => {
        const given = snapshot(Object.fromEntries(marks.map((mark) => [mark, 0])))
        const first = order.find(([, group]) => group.some((mark) => marks.includes(mark)))
        expect(evaluateKey(given, [], NOW)).toEqual({ ok: false, reason: first?.[0] })
      }),
      { numRuns: 300 },
    )
  })

  it('says revoked of a tombstone, whatever else is known of its secret', () => {
    const secret = { expiresAt: null, revokedAt: null, isRetiredUseNoted: false }
    for (const known of [secret, { ...secret, expiresAt: 0 }, { ...secret, revokedAt: 0 }]) {
      const tombstone = { secret: known, ownerId: 'user_1', policy: null }
      expect(evaluateKey(tombstone, [], NOW)).toEqual({ ok: false, reason: 'revoked' })
    }
  })

  it('asks last for the scopes, all of them', () => {
    const denied = { ok: false, reason: 'insufficient_scope' }
    expect(evaluateKey(snapshot({}), ['telemetry:write'], NOW)).toMatchObject({ ok: true })
    expect(evaluateKey(snapshot({}), ['telemetry:write', 'other'], NOW)).toEqual(denied)
  })
})

describe('problems', () => {
  it.each(Object.entries(PROBLEMS))('%s is well formed', (code, { status, title, meaning }) => {
    expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/)
    expect([400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503]).toContain(status)
    // The title goes into WWW-Authenticate between quotes (RFC 6750 §3: error_description).
    expect(title).toMatch(/^[\x20\x21\x23-\x5B\x5D-\x7E]+$/)
    expect(meaning).toMatch(/\.$/)
  })

  it('says each denial', () => {
    expect(problemOfDenial('not_found')).toBe('invalid-credential')
    for (const denial of ['revoked', 'expired', 'disabled', 'insufficient_scope'] as const) {
      expect(problemOfDenial(denial)).toBe(denial.replace('_', '-'))
    }
    expect(problemOfDenial('rate_limited')).toBe('rate-limited')
  })

  it('knows its own codes only', () => {
    expect(isProblemCode('not-found')).toBe(true)
    for (const code of ['not_found', '', 'toString', '__proto__', 'constructor']) {
      expect(isProblemCode(code)).toBe(false)
    }
  })
})

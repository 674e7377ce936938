import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
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
  DEVICE_TOKEN_SECONDS: each(`${M} 59 3601`),
  DEVICE_TOKEN_AUDIENCES: each(`${M} https://b/#${M} urn:latchkey:users urn:latchkey:claims`),
  REVOCATION_POLL_SECONDS: each(`${M} 0 61`),
  RESERVED_SCOPES: each(`a:*:${M} ** a::b keys:own a,b:${M}:`),
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
    [
      { PUBLIC_URL: 'http://localhost:8787' },
      { publicUrl: 'http://localhost:8787', deviceTokenAudiences: ['http://localhost:8787'] },
    ],
    [
      { PUBLIC_URL: 'https://a.example/' },
      { publicUrl: 'https://a.example', deviceTokenAudiences: ['https://a.example'] },
    ],
    [
      { DEVICE_TOKEN_AUDIENCES: 'https://b.example/x, urn:c' },
      { deviceTokenAudiences: ['https://b.example/x', 'urn:c', 'https://latchkey.example'] },
    ],
    [{ RESERVED_SCOPES: 'billing:*, admin' }, { reservedScopes: ['billing:*', 'admin'] }],
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
    if (['CORS_ORIGINS', 'DEVICE_TOKEN_AUDIENCES', 'RESERVED_SCOPES'].includes(name))
      expect(loadSettings(envWith({ [name]: '' }))).toBeDefined()
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

  it('names every fault at once, in the order of the settings', () => {
    const faulty = { KEY_PREFIX: 'X', PUBLIC_URL: undefined, D1_TIMEOUT_MS: '5', USAGE: '' }
    expect(() => loadSettings(envWith(faulty))).toThrow(
      expect.objectContaining({
        faults: [
          'PUBLIC_URL is not set',
          'KEY_PREFIX: must match [a-z][a-z0-9]{1,11}',
          'D1_TIMEOUT_MS: must be a whole number from 100 to 30000',
          'USAGE is not set',
        ],
      }),
    )
  })

  it.each([
    ['KEY_CACHE_SECONDS', '10s', 'write the number without a unit'],
    ['KEY_CACHE_SECONDS', '10 ', 'remove the white space around the value'],
    ['KEY_CACHE_SECONDS', '"10"', 'remove the quotes around the value'],
    ['KEY_PREFIX', "'lk'", 'remove the quotes around the value'],
    ['PUBLIC_URL', 'latchkey.example', 'an address begins with https://'],
    ['KEY_PREFIX', 'lk\n', 'remove the white space around the value'],
    ['SIGNING_KEYS', `SIGNING_KEYS=${keys(KEY)}`, 'only what stands after the equals sign'],
    ['SIGNING_KEYS', `'${keys(KEY)}'`, 'remove the quotes around the value'],
    ['SIGNING_KEYS', '-----BEGIN PRIVATE KEY-----', 'paste what npm run secrets prints'],
  ])('tell of %s what was probably meant: %j', (name, value, hint) => {
    expect(refusal(name, value).message).toContain(hint)
  })
})

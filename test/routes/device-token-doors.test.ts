import { env } from 'cloudflare:workers'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Answer, call, ORIGIN, pick } from '../support/client.ts'
import { captureConsole } from '../support/console.ts'
import { makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import { dumpDatabase } from '../support/rows.ts'
import { claimsOf, resigned, tampered } from '../support/tokens.ts'

/** One of them is the token's. */
const THREE_AN_HOUR = { limit: 3, window_seconds: 3600 }

let user: TestUser
let verifier: TestDevice
let device: TestDevice

type Policy = WireLimits & { readonly scopes?: readonly string[] }

async function makeHolder(policy: Policy): Promise<TestDevice> {
  return await makeLimitedDevice(user, policy)
}

function placesOf(credential: string): Readonly<Record<string, string>>[] {
  return [
    { Authorization: `Bearer ${credential}` },
    { Authorization: `ApiKey ${credential}` },
    { 'X-API-Key': credential },
  ]
}

async function verify(api_key: string, token: string, asked: object = {}): Promise<Answer> {
  return await call('POST', '/v1/keys/verify', { token, body: { api_key, ...asked } })
}

async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  verifier = await makeHolder({ ...limits, scopes: ['keys:verify'] })
  device = await makeHolder({ ...limits, scopes: ['telemetry:*'] })
}

beforeAll(async () => await setUp({}))

afterEach(() => {
  vi.restoreAllMocks()
})

describe.each(KEY_KINDS)('a device token of %s opens what its secret does', (_, limits) => {
  beforeAll(async () => await setUp(limits))
  afterAll(async () => await setUp({}))

  it('GET /v1/device, from every header: it tells of the token', async () => {
    const token = await fetchToken(device, { scope: 'telemetry:a' })
    const expiresAt = new Date(Number(claimsOf(token)['exp']) * 1000).toISOString()
    for (const headers of placesOf(token)) {
      const answer = await call('GET', '/v1/device', { headers })
      expect(answer.status).toBe(200)
      for (const part of [device.id, '"scopes":["telemetry:a"]', `"expires_at":"${expiresAt}"`]) {
        expect(answer.text).toContain(part)
      }
    }
  })

  it('check-ins, the classic one too', async () => {
    const token = await fetchToken(device)
    const body = { report: { ok: true } }
    expect((await call('POST', '/v1/device/check-ins', { token, body })).status).toBe(201)
    const classic = await call('POST', '/device/check-in', { body: { api_key: token } })
    expect(classic).toMatchObject({ status: 200, body: { device_name: device.name } })
  })

  it('but beside another credential: 400', async () => {
    const token = await fetchToken(device)
    const headers = { Authorization: `Bearer ${token}`, 'X-API-Key': device.secret }
    const answer = await call('GET', '/v1/device', { headers })
    expect(answer).toMatchObject({ status: 400, body: { code: 'several_credentials' } })
  })

  it('POST /v1/keys/verify as the one that is asked about', async () => {
    const token = await fetchToken(device, { scope: 'telemetry:a' })
    const good = await verify(token, verifier.secret, { scopes: ['telemetry:a'] })
    expect(good.body).toMatchObject({
      valid: true,
      code: 'valid',
      device: { id: device.id, name: device.name },
      owner: { id: user.id },
      key: { id: device.keyId, scopes: ['telemetry:a'] },
    })
    const wide = await verify(token, verifier.secret, { scopes: ['telemetry:b'] })
    expect(wide.body).toMatchObject({ valid: false, code: 'insufficient_scope' })
    const past = await resigned(token, { exp: Math.floor(Date.now() / 1000) - 1 })
    const expired = await verify(past, verifier.secret)
    expect(expired.body).toMatchObject({ valid: false, code: 'expired' })
    const foreign = await fetchToken(await makeLimitedDevice(await makeUser(), limits))
    const hidden = await verify(foreign, verifier.secret)
    expect(hidden.body).toEqual({ valid: false, code: 'not_found' })
  })

  it('POST /v1/keys/verify as the verifier’s own credential, if not narrowed past it', async () => {
    const own = await fetchToken(verifier)
    expect((await verify(device.secret, own)).body).toMatchObject({ valid: true })
    const both = await makeHolder({ ...limits, scopes: ['keys:verify', 'a'] })
    const narrowed = await fetchToken(both, { scope: 'a' })
    expect(await verify(device.secret, narrowed)).toMatchObject({
      status: 403,
      body: { code: 'insufficient_scope' },
    })
  })
})

describe('the token of a limited key is charged as its secret is', () => {
  it('at a device’s own door, with the standing of its limits', async () => {
    const limited = await makeHolder({ rate_limit: THREE_AN_HOUR })
    const token = await fetchToken(limited)
    const answers: Answer[] = []
    for (const headers of placesOf(token)) {
      answers.push(await call('GET', '/v1/device', { headers }))
    }
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429])
    expect(answers[0]?.headers.get('ratelimit-policy')).toBe('"rate";q=3;w=3600')
    expect(answers[0]?.headers.get('ratelimit')).toMatch(/^"rate";r=1;t=\d+$/)
    expect(answers[2]?.body).toMatchObject({ code: 'rate_limited' })
    expect(answers[2]?.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    // Issuing was charged one, and is refused like a verify.
    const form = { grant_type: 'client_credentials' }
    const over = await postForm('/oauth/token', form, basic(limited.id, limited.secret))
    expect(over).toMatchObject({ status: 429, body: { error: 'temporarily_unavailable' } })
  })

  it('at POST /v1/keys/verify, by cost', async () => {
    const limited = await makeHolder({ rate_limit: THREE_AN_HOUR })
    const token = await fetchToken(limited)
    for (const cost of [2, 0]) {
      const { body } = await verify(token, verifier.secret, { cost })
      expect(body).toMatchObject({ valid: true, rate_limit: { limit: 3, remaining: 0 } })
    }
    for (const presented of [token, limited.secret]) {
      const over = await verify(presented, verifier.secret)
      expect(over.body).toMatchObject({ valid: false, code: 'rate_limited' })
    }
  })

  it('as the verifier’s own, 429 and not a word about what it asked', async () => {
    const limited = await makeHolder({ scopes: ['keys:verify'], rate_limit: THREE_AN_HOUR })
    const token = await fetchToken(limited)
    const statuses: number[] = []
    for (let ask = 0; ask < 3; ask += 1) {
      statuses.push((await verify(device.secret, token)).status)
    }
    expect(statuses).toEqual([200, 200, 429])
  })
})

describe('introspection', () => {
  it('charges nothing to what it is asked about, and writes nothing', async () => {
    const limited = await makeHolder({ rate_limit: THREE_AN_HOUR })
    const token = await fetchToken(limited)
    const before = await dumpDatabase()
    for (let request = 0; request < 5; request += 1) {
      for (const presented of [limited.secret, token]) {
        const header = basic(verifier.id, verifier.secret)
        const answer = await postForm('/oauth/introspect', { token: presented }, header)
        expect(answer.body).toMatchObject({ active: true })
      }
    }
    expect(await dumpDatabase()).toBe(before)
    for (const [status, credential] of [
      [200, token],
      [200, limited.secret],
      [429, token],
    ] as const) {
      expect((await call('GET', '/v1/device', { token: credential })).status).toBe(status)
    }
  })
})

describe('RFC 8414 and RFC 7517: what anybody may read', () => {
  it('RFC 8414 §2, §3: the metadata is complete and true', async () => {
    const answer = await call('GET', '/.well-known/oauth-authorization-server')
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toMatch(/^application\/json\b/)
    expect(answer.headers.get('cache-control')).toBe('public, max-age=300')
    const methods = ['client_secret_basic', 'client_secret_post']
    expect(answer.body).toMatchObject({
      issuer: ORIGIN,
      grant_types_supported: expect.arrayContaining(['client_credentials']),
      token_endpoint_auth_methods_supported: expect.arrayContaining(methods),
      introspection_endpoint_auth_methods_supported: [...methods, 'Bearer'],
      revocation_endpoint_auth_methods_supported: methods,
    })
    // RFC 8414 §3.2: a claim with zero elements is left out.
    for (const claim of Object.values(answer.body ?? {})) expect(claim).not.toEqual([])
    for (const name of ['token_endpoint', 'introspection_endpoint', 'revocation_endpoint']) {
      const path = pick(answer.body, name).slice(ORIGIN.length)
      expectOAuthError(
        await postForm(path, { grant_type: 'client_credentials' }),
        401,
        'invalid_client',
        name === 'introspection_endpoint' ? 'Bearer realm="latchkey"' : undefined,
      )
    }
    const jwks = pick(answer.body, 'jwks_uri')
    expect((await call('GET', jwks.slice(ORIGIN.length))).status).toBe(200)
    // PUBLIC_URL names the issuer, never the Host header.
    const elsewhere = { env: { ...env, PUBLIC_URL: 'https://keys.example' } }
    const other = await call('GET', '/.well-known/oauth-authorization-server', elsewhere)
    expect(other.body).toMatchObject({
      issuer: 'https://keys.example',
      token_endpoint: 'https://keys.example/oauth/token',
    })
  })

  it('RFC 7517 §4, §5: the keys have public members only', async () => {
    const answer = await call('GET', '/.well-known/jwks.json')
    expect(answer.headers.get('cache-control')).toBe('public, max-age=300')
    const key = { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' }
    const text = expect.stringMatching(/^[\w-]+$/)
    expect(answer.body).toEqual({ keys: [{ ...key, kid: text, x: text, y: text }] })
  })
})

describe('no log line and no error quotes a token', () => {
  it('at any door, good or bad', async () => {
    const token = await fetchToken(device)
    const past = Math.floor(Date.now() / 1000) - 1
    const bad = [tampered(token, { scope: '*' }), await resigned(token, { exp: past })]
    const lines = captureConsole()
    const all = { ...env, LOG_REQUESTS: 'all' }
    const texts: string[] = []
    for (const presented of [token, ...bad]) {
      for (const headers of placesOf(presented)) {
        texts.push((await call('GET', '/v1/device', { headers, env: all })).text)
        texts.push((await call('GET', '/v1/me', { headers, env: all })).text)
        const form = { token: presented, grant_type: presented, scope: presented }
        for (const path of ['/oauth/token', '/oauth/introspect', '/oauth/revoke']) {
          texts.push((await postForm(path, form, headers, all)).text)
          texts.push((await postForm(path, form, basic(device.id, presented), all)).text)
        }
      }
      texts.push((await verify(presented, verifier.secret)).text)
    }
    expect(lines.length).toBeGreaterThan(0)
    const said = texts.join('\n') + lines.map(({ text }) => text).join('\n')
    for (const presented of [token, ...bad]) {
      const [, payload = '', signature = ''] = presented.split('.')
      for (const part of [payload, signature]) expect(said).not.toContain(part)
    }
    expect(said).not.toContain(device.secret)
  })
})

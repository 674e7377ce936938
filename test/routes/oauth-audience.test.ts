import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadSettings } from '../../src/settings.ts'
import { KeyVerifier } from '../../src/index.ts'
import { createExecutionContext } from 'cloudflare:test'
import { call, ORIGIN, pick } from '../support/client.ts'
import { makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import { pathOf, routesFor } from '../support/route-table.ts'
import { dumpDatabase } from '../support/rows.ts'
import { claimsOf, ownKid, resigned, signedByStranger, strangersKey } from '../support/tokens.ts'

const TOKEN = '/oauth/token'
const GRANT = { grant_type: 'client_credentials' }
const FIRST = 'https://api.example'
const SECOND = 'https://api.example/v2?region=eu'
const audienced: Env = { ...env, DEVICE_TOKEN_AUDIENCES: `${FIRST}, ${SECOND}` }

let user: TestUser
let device: TestDevice

async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  const scopes = ['telemetry:*', 'config:read', 'keys:verify']
  device = await makeLimitedDevice(user, { ...limits, scopes })
}

beforeAll(async () => await setUp({}))

describe.each(KEY_KINDS)('RFC 6749 §3.3: the scope of a token of %s', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it.each([
    ['config:read'],
    ['telemetry:a'],
    ['telemetry:a:b'],
    ['telemetry:*'],
    ['telemetry:a:*'],
    ['telemetry:a:b:*'],
    ['keys:verify'],
    ['telemetry:x config:read'],
  ])('may be narrowed to %s', async (scope) => {
    const answer = await postForm(TOKEN, { ...GRANT, scope }, basic(device.id, device.secret))
    expect(answer).toMatchObject({ status: 200, body: { scope } })
  })

  it.each([
    ['*'],
    ['telemetry'],
    ['telemetry:'],
    ['telemetry:**'],
    ['telemetry:*:a'],
    ['config:*'],
    ['config:write'],
    ['keys:*'],
    ['keys:verify-all'],
    ['telemetry:a other'],
    [' '],
    ['telemetry:a  telemetry:b'],
    ['telemetry:é'],
  ])('invalid_scope: %s is not covered', async (scope) => {
    const answer = await postForm(TOKEN, { ...GRANT, scope }, basic(device.id, device.secret))
    expectOAuthError(answer, 400, 'invalid_scope')
  })

  it('names each scope once, however often it is asked for', async () => {
    const scope = Array.from({ length: 500 }, () => 'telemetry:a').join(' ')
    const answer = await postForm(TOKEN, { ...GRANT, scope }, basic(device.id, device.secret))
    expect(answer).toMatchObject({ status: 200, body: { scope: 'telemetry:a' } })
  })

  it('holds at most as many scopes as a key: 64', async () => {
    const scopes = Array.from({ length: 65 }, (_, index) => `telemetry:${index}`)
    const ask = async (count: number) => {
      const scope = scopes.slice(0, count).join(' ')
      return await postForm(TOKEN, { ...GRANT, scope }, basic(device.id, device.secret))
    }
    expect((await ask(64)).status).toBe(200)
    expectOAuthError(await ask(65), 400, 'invalid_scope')
  })

  it('a narrowed token opens what it was narrowed to, and no more', async () => {
    const isolate = makeIsolate(Date.now())
    const token = await fetchToken(device, { scope: 'telemetry:a:*' })
    expect(await isolate.codeOf(token, { scopes: ['telemetry:a:b'] })).toBe('valid')
    for (const scope of ['telemetry:a', 'telemetry:b', 'config:read']) {
      expect(await isolate.codeOf(token, { scopes: [scope] })).toBe('insufficient_scope')
    }
  })

  it('keys:… is covered by no wildcard', async () => {
    const all = await makeLimitedDevice(user, { ...limits, scopes: ['*'] })
    const answer = await postForm(
      TOKEN,
      { ...GRANT, scope: 'keys:verify' },
      basic(all.id, all.secret),
    )
    expectOAuthError(answer, 400, 'invalid_scope')
  })
})

describe.each(KEY_KINDS)('RFC 8707 §2: the resource that a token of %s is for', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('is the first of the configured ones, or the one that is asked for', async () => {
    expect(claimsOf(await fetchToken(device, {}, audienced))['aud']).toBe(FIRST)
    for (const resource of [FIRST, SECOND]) {
      expect(claimsOf(await fetchToken(device, { resource }, audienced))['aud']).toBe(resource)
    }
    // Nothing is configured: the deployment itself.
    expect(claimsOf(await fetchToken(device, { resource: ORIGIN }))['aud']).toBe(ORIGIN)
  })

  it('is several, each once, if several are asked for', async () => {
    const header = basic(device.id, device.secret)
    const pairs = [FIRST, SECOND, FIRST].map((resource) => ['resource', resource] as const)
    const form = [...Object.entries(GRANT), ...pairs] as const
    const answer = await postForm(TOKEN, form, header, audienced)
    const token = pick(answer.body, 'access_token')
    expect(claimsOf(token)['aud']).toEqual([FIRST, SECOND])
    const isolate = makeIsolate(Date.now(), loadSettings(audienced))
    for (const audience of [FIRST, SECOND]) {
      expect(await isolate.codeOf(token, { audience })).toBe('valid')
    }
    expect(await isolate.codeOf(token, { audience: ORIGIN })).toBe('not_found')
    const mixed = [...form, ['resource', 'https://other.example'] as const]
    expectOAuthError(await postForm(TOKEN, mixed, header, audienced), 400, 'invalid_target')
  })

  it.each(['https://other.example', `${FIRST}/`, `${FIRST}#part`, 'urn:latchkey:users', 'x'])(
    'invalid_target: %s',
    async (resource) => {
      const header = basic(device.id, device.secret)
      const answer = await postForm(TOKEN, { ...GRANT, resource }, header, audienced)
      expectOAuthError(answer, 400, 'invalid_target')
    },
  )
})

describe.each(KEY_KINDS)('a verifier with %s that asks for one audience', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('gets not_found for a token of another: POST /v1/keys/verify', async () => {
    const api_key = await fetchToken(device, { resource: SECOND }, audienced)
    const ask = async (audience?: string) =>
      (
        await call('POST', '/v1/keys/verify', {
          token: device.secret,
          body: { api_key, audience },
          env: audienced,
        })
      ).body
    expect(await ask()).toEqual({ valid: false, code: 'not_found' })
    expect(await ask('any')).toMatchObject({ valid: true })
    expect(await ask(SECOND)).toMatchObject({ valid: true, device: { id: device.id } })
    expect(await ask(FIRST)).toEqual({ valid: false, code: 'not_found' })
    expect(await ask('urn:latchkey:users')).toEqual({ valid: false, code: 'not_found' })
  })

  it('gets not_found for a token of another: RPC', async () => {
    const token = await fetchToken(device, { resource: SECOND }, audienced)
    const verifier = new KeyVerifier(createExecutionContext(), audienced)
    expect(await verifier.verify(token, { owner: 'any', audience: SECOND })).toMatchObject({
      valid: true,
    })
    const other = await verifier.verify(token, { owner: 'any', audience: FIRST })
    expect(other).toEqual({ valid: false, code: 'not_found' })
  })
})

describe("users' and devices' tokens never stand in for each other", () => {
  it.each(routesFor('access token'))('$name takes no device token', async (route) => {
    const before = await dumpDatabase()
    const path = pathOf(route, () => device.id)
    const token = await fetchToken(device)
    const answer = await call(route.method, path, { body: route.body, token })
    expect(answer.status).toBe(401)
    expect(await dumpDatabase()).toBe(before)
  })

  it.each(routesFor('device secret'))('$name takes no access token', async (route) => {
    const places = [
      { Authorization: `Bearer ${user.token}` },
      { Authorization: `ApiKey ${user.token}` },
      { 'X-API-Key': user.token },
    ]
    for (const headers of places) {
      const path = pathOf(route, () => device.id)
      const answer = await call(route.method, path, { body: route.body, headers })
      expect(answer).toMatchObject({ status: 401, body: { code: 'invalid_credential' } })
    }
  })

  it('nor does one that another deployment, audience or key signed', async () => {
    const token = await fetchToken(device)
    const isolate = makeIsolate(Date.now())
    for (const bad of [
      await resigned(token, { aud: 'urn:latchkey:users' }),
      await resigned(token, { aud: FIRST }),
      await resigned(token, { iss: 'https://other.example' }),
      await resigned(token, { exp: undefined }),
      await resigned(token, { metered: undefined }),
      await resigned(token, { feed: undefined }),
      await resigned(user.token, { aud: ORIGIN }),
      await signedByStranger(token),
    ]) {
      expect(await isolate.codeOf(bad)).toBe('not_found')
    }
    expect(isolate.statements).toEqual([])
  })
})

function kidOf(token: string): unknown {
  return JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid
}

describe('a rotation of the key ring', () => {
  it('the new first key signs; tokens of the old one live until they expire', async () => {
    const old = loadSettings(env).signingKeys[0]
    const next = await strangersKey('next')
    const rotated = { ...env, SIGNING_KEYS: JSON.stringify({ keys: [next, old] }) }
    const before = await fetchToken(device)
    const after = await fetchToken(device, {}, rotated)
    expect([kidOf(before), kidOf(after)]).toEqual([ownKid(), 'next'])

    const isolate = makeIsolate(Date.now(), loadSettings(rotated))
    expect(await isolate.codeOf(before)).toBe('valid')
    expect(await isolate.codeOf(after)).toBe('valid')
    isolate.now = Number(claimsOf(before)['exp']) * 1000
    expect(await isolate.codeOf(before)).toBe('expired')

    const jwks = await call('GET', '/.well-known/jwks.json', { env: rotated })
    expect(jwks.body).toMatchObject({ keys: [{ kid: 'next' }, { kid: ownKid() }] })
  })

  it('a kid that is in no ring is 401 without I/O', async () => {
    const isolate = makeIsolate(Date.now())
    const token = await signedByStranger(await fetchToken(device), 'nobody')
    expect(await isolate.codeOf(token)).toBe('not_found')
    expect(isolate.statements).toEqual([])
    const answer = await call('GET', '/v1/device', { token })
    expect(answer).toMatchObject({ status: 401, body: { code: 'invalid_credential' } })
  })
})

import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { newId } from '../../src/crypto/ids.ts'
import { call, ORIGIN, pick } from '../support/client.ts'
import { makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { claimsOf, forgedFrom, unissuedSecret } from '../support/tokens.ts'

const TOKEN = '/oauth/token'
const GRANT = { grant_type: 'client_credentials' }

let user: TestUser
let device: TestDevice

function inForm({ id, secret }: TestDevice): Record<string, string> {
  return { client_id: id, client_secret: secret }
}

function basicOf(pair: string): { readonly Authorization: string } {
  return { Authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}

async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  device = await makeLimitedDevice(user, { ...limits, scopes: ['telemetry:*', 'config:read'] })
}

describe.each(KEY_KINDS)('RFC 6749 §4.4: client credentials with %s', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('§4.4.3, §5.1: the token, its type, lifetime and scope, which nobody may store', async () => {
    const before = Math.floor(Date.now() / 1000)
    const answer = await postForm(TOKEN, GRANT, basic(device.id, device.secret))
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toMatch(/^application\/json\b/)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('pragma')).toBe('no-cache')
    // No refresh token (§4.4.3), and nothing else.
    expect(answer.body).toEqual({
      access_token: expect.stringMatching(/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/),
      token_type: 'Bearer',
      expires_in: 900,
      scope: 'telemetry:* config:read',
    })
    const claims = claimsOf(pick(answer.body, 'access_token'))
    expect(claims).toMatchObject({
      iss: ORIGIN,
      aud: ORIGIN,
      sub: device.id,
      client_id: device.id,
      key_id: device.keyId,
      owner: user.id,
      scope: 'telemetry:* config:read',
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    expect(Number(claims['iat'])).toBeGreaterThanOrEqual(before)
    expect(claims['exp']).toBe(Number(claims['iat']) + 900)
  })

  it('each token has a jti of its own, and the type of RFC 9068: at+jwt', async () => {
    const tokens = [await fetchToken(device), await fetchToken(device)]
    expect(new Set(tokens.map((token) => claimsOf(token)['jti'])).size).toBe(2)
    const header = JSON.parse(Buffer.from(tokens[0]?.split('.')[0] ?? '', 'base64url').toString())
    expect(header).toEqual({ alg: 'ES256', typ: 'at+jwt', kid: expect.any(String) })
  })
})

describe.each(KEY_KINDS)('RFC 6749 §2.3.1: a client with %s authenticates', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('with Basic, whose halves are form-encoded, reserved characters too', async () => {
    // An imported secret may hold any visible ASCII: `+`, `%` and `:` change if not decoded.
    const holder = await makeLimitedDevice(user, { ...limits, scopes: ['a'] })
    const secret = `a+b%20c:d/e=f&g"h\\i?j@k${holder.id}`
    const change = 'update key_secrets set hash = ?, imported = 1 where key_id = ?'
    await execute(change, await sha256(secret), holder.keyId)
    const accepting = { ...env, ACCEPT_IMPORTED_KEYS: 'true' }
    const encoded = await postForm(TOKEN, GRANT, basic(holder.id, secret), accepting)
    expect(encoded.status).toBe(200)
    const form = { ...GRANT, client_id: holder.id, client_secret: secret }
    expect((await postForm(TOKEN, form, {}, accepting)).status).toBe(200)
    // Everything escaped: the same halves.
    const escaped = Array.from(holder.id, (letter) => `%${Buffer.from(letter).toString('hex')}`)
    const whole = basicOf(`${escaped.join('')}:${encodeURIComponent(secret)}`)
    expect((await postForm(TOKEN, GRANT, whole, accepting)).status).toBe(200)
    // Unescaped, a `+` is a space.
    const plus = encodeURIComponent(secret).replaceAll('%2B', '+')
    for (const pair of [`${holder.id}:${secret}`, `${holder.id}:${plus}`]) {
      const answer = await postForm(TOKEN, GRANT, basicOf(pair), accepting)
      expectOAuthError(answer, 401, 'invalid_client')
    }
  })

  it('with parameters of the body', async () => {
    expect((await postForm(TOKEN, { ...GRANT, ...inForm(device) })).status).toBe(200)
  })

  it('under a scheme whose name is case-insensitive (RFC 9110 §11.1)', async () => {
    const { Authorization } = basic(device.id, device.secret)
    for (const scheme of ['basic', 'BASIC']) {
      const headers = { Authorization: Authorization.replace('Basic', scheme) }
      expect((await postForm(TOKEN, GRANT, headers)).status).toBe(200)
    }
  })

  it('§2.3: with no more than one method in a request', async () => {
    const header = basic(device.id, device.secret)
    const both = await postForm(TOKEN, { ...GRANT, ...inForm(device) }, header)
    expectOAuthError(both, 400, 'invalid_request')
    const another = { ...GRANT, client_id: newId('dev') }
    expectOAuthError(await postForm(TOKEN, another, header), 400, 'invalid_request')
    const named = { ...GRANT, client_id: device.id }
    expect((await postForm(TOKEN, named, header)).status).toBe(200)
  })

  it('and never in the request URI', async () => {
    const query = new URLSearchParams({ ...GRANT, ...inForm(device) }).toString()
    for (const form of [GRANT, {}, { ...GRANT, ...inForm(device) }]) {
      const answer = await postForm(`${TOKEN}?${query}`, form)
      expectOAuthError(answer, 400, 'invalid_request')
      expect(answer.text).not.toContain(device.secret)
    }
  })
})

function header(): Readonly<Record<string, string>> {
  return basic(device.id, device.secret)
}

describe.each(KEY_KINDS)('RFC 6749 §3.2: parameters of a client with %s', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it.each(['grant_type', 'scope', 'client_id', 'unknown'])(
    'must not be repeated: %s',
    async (name) => {
      const pairs = [...Object.entries(GRANT), [name, 'x'], [name, 'x']] as const
      const form = pairs.map(([key, value]): [string, string] => [key, value])
      expectOAuthError(await postForm(TOKEN, form, header()), 400, 'invalid_request')
    },
  )

  it('without a value count as left out, and unknown ones are ignored', async () => {
    const empty = { scope: '', resource: '', client_id: '', client_secret: '', unknown: 'x' }
    const answer = await postForm(TOKEN, { ...GRANT, ...empty }, header())
    expect(answer).toMatchObject({ status: 200, body: { scope: 'telemetry:* config:read' } })
    const none = await postForm(TOKEN, { grant_type: '' }, header())
    expectOAuthError(none, 400, 'invalid_request')
  })

  it('are a form, whose media type may have parameters (Appendix B)', async () => {
    const raw = new URLSearchParams(GRANT).toString()
    const utf8 = { ...header(), 'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8' }
    expect((await call('POST', TOKEN, { raw, headers: utf8 })).status).toBe(200)
    for (const type of ['', 'text/plain', 'application/x-www-form-urlencodedx']) {
      const headers = { ...header(), 'Content-Type': type }
      expectOAuthError(await call('POST', TOKEN, { raw, headers }), 400, 'invalid_request')
    }
    const json = await call('POST', TOKEN, { body: GRANT, headers: header() })
    expectOAuthError(json, 400, 'invalid_request')
  })

  it('come by POST', async () => {
    expect((await call('GET', `${TOKEN}?grant_type=client_credentials`)).status).toBe(405)
  })
})

describe.each(KEY_KINDS)('RFC 6749 §5.2: errors of a client with %s', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('invalid_client is one answer, whatever is wrong with the client', async () => {
    const other = await makeLimitedDevice(user, limits)
    const deleted = await makeLimitedDevice(user, limits)
    await call('DELETE', `/v1/devices/${deleted.id}`, { token: user.token })
    const pairs = [
      [device.id, forgedFrom(device.secret)],
      [device.id, await unissuedSecret()],
      [device.id, user.token],
      [device.id, await fetchToken(device)],
      [device.id, ''],
      [other.id, device.secret],
      [newId('dev'), device.secret],
      ['', device.secret],
      [device.keyId, device.secret],
      [deleted.id, deleted.secret],
    ]
    for (const change of [
      'api_keys set revoked_at = 1 where id = ?1',
      'api_keys set expires_at = 1 where id = ?1',
      'api_keys set disabled_at = 1 where id = ?1',
      'key_secrets set revoked_at = 1 where key_id = ?1',
      'key_secrets set expires_at = 1 where key_id = ?1',
      'devices set disabled_at = 1 where id = (select device_id from api_keys where id = ?1)',
      `users set disabled_at = 1 where id = (select user_id from devices join api_keys
         on devices.id = device_id where api_keys.id = ?1)`,
    ]) {
      const ended = await makeLimitedDevice(await makeUser(), limits)
      await execute(`update ${change}`, ended.keyId)
      pairs.push([ended.id, ended.secret])
    }
    const bodies = new Set<string>()
    for (const [id = '', secret = ''] of pairs) {
      for (const answer of [
        await postForm(TOKEN, GRANT, basic(id, secret)),
        await postForm(TOKEN, { ...GRANT, client_id: id, client_secret: secret }),
      ]) {
        expectOAuthError(answer, 401, 'invalid_client')
        bodies.add(answer.text)
      }
    }
    expect(bodies.size).toBe(1)
  })

  it('invalid_client is also no client authentication, or one that cannot be read', async () => {
    const headers = ['Basic', 'Basic !', 'Basic YQ==', basicOf('a:%').Authorization, 'Digest x']
    headers.push(`Bearer ${device.secret}`, `Bearer ${await fetchToken(device)}`)
    for (const Authorization of headers) {
      expectOAuthError(await postForm(TOKEN, GRANT, { Authorization }), 401, 'invalid_client')
    }
    for (const form of [{}, { client_id: device.id }, { client_secret: device.secret }]) {
      expectOAuthError(await postForm(TOKEN, { ...GRANT, ...form }), 401, 'invalid_client')
    }
  })

  it.each(['password', 'authorization_code', 'refresh_token', 'CLIENT_CREDENTIALS', 'urn:x'])(
    'unsupported_grant_type: %s',
    async (grant_type) => {
      const answer = await postForm(TOKEN, { grant_type }, basic(device.id, device.secret))
      expectOAuthError(answer, 400, 'unsupported_grant_type')
    },
  )

  it('invalid_request: no grant_type', async () => {
    const answer = await postForm(TOKEN, {}, basic(device.id, device.secret))
    expectOAuthError(answer, 400, 'invalid_request')
  })
})

import { beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, ORIGIN } from '../support/client.ts'
import { makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { claimsOf, forgedFrom, resigned, tampered, unissuedSecret } from '../support/tokens.ts'

const INTROSPECT = '/oauth/introspect'
const BEARER = 'Bearer realm="latchkey"'
const INVALID_TOKEN = `${BEARER}, error="invalid_token"`

let user: TestUser
let verifier: TestDevice
let device: TestDevice

const TWO_AN_HOUR = { limit: 2, window_seconds: 3600 }

async function setPolicy(made: TestDevice, body: unknown): Promise<void> {
  const path = `/v1/devices/${made.id}/keys/${made.keyId}`
  expect((await call('PATCH', path, { token: user.token, body })).status).toBe(200)
}

async function introspect(token: string, by = verifier): Promise<Answer> {
  return await postForm(INTROSPECT, { token }, basic(by.id, by.secret))
}

/** A verifier and a device to be asked about, both of which have these limits. */
async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  verifier = await makeLimitedDevice(user, { ...limits, scopes: ['keys:verify'] })
  device = await makeLimitedDevice(user, { ...limits, scopes: ['telemetry:*', 'config:read'] })
}

describe.each(KEY_KINDS)('RFC 7662 §2.2: what is active, for %s', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('of a secret that does not expire: whose it is and what it may', async () => {
    const answer = await introspect(device.secret)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toMatch(/^application\/json\b/)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual({
      active: true,
      token_type: 'Bearer',
      scope: 'telemetry:* config:read',
      client_id: device.id,
      sub: device.id,
      iss: ORIGIN,
    })
  })

  it('of a secret that expires: when, in whole seconds', async () => {
    const ending = await makeLimitedDevice(user, limits)
    const end = Date.now() + 600_500
    await execute('update api_keys set expires_at = ? where id = ?', end, ending.keyId)
    expect((await introspect(ending.secret)).body).toMatchObject({ exp: Math.floor(end / 1000) })
  })

  it('the exp of a secret whose key ends before it is the end of the key', async () => {
    const ending = await makeLimitedDevice(user, limits)
    const path = `/v1/devices/${ending.id}/keys/${ending.keyId}/rotate`
    await call('POST', path, { token: user.token, body: { overlap_seconds: 3600 } })
    const end = (Math.floor(Date.now() / 1000) + 600) * 1000
    await setPolicy(ending, { expires_at: new Date(end).toISOString() })
    expect((await introspect(ending.secret)).body).toMatchObject({ exp: end / 1000 })
  })

  it('of a token: what it claims, and no more scopes than it was narrowed to', async () => {
    const token = await fetchToken(device, { scope: 'telemetry:a' })
    const { aud, iat, exp } = claimsOf(token)
    expect((await introspect(token)).body).toEqual({
      active: true,
      token_type: 'Bearer',
      scope: 'telemetry:a',
      client_id: device.id,
      sub: device.id,
      iss: ORIGIN,
      aud,
      iat,
      exp,
    })
  })

  it('§2.1: whatever token_type_hint says', async () => {
    for (const token_type_hint of ['access_token', 'refresh_token', 'nonsense']) {
      const form = { token: device.secret, token_type_hint }
      const answer = await postForm(INTROSPECT, form, basic(verifier.id, verifier.secret))
      expect(answer.body).toMatchObject({ active: true })
    }
  })
})

async function expectInactive(token: string, by = verifier): Promise<void> {
  const { status, body } = await introspect(token, by)
  expect({ status, body }).toEqual({ status: 200, body: { active: false } })
}

describe.each(KEY_KINDS)('RFC 7662 §2.2: an inactive one of %s says nothing more', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('what is not ours, or is no token of a device', async () => {
    const token = await fetchToken(device)
    const past = Math.floor(Date.now() / 1000) - 1
    for (const presented of [
      'x',
      '☃'.repeat(9),
      forgedFrom(device.secret),
      await unissuedSecret(),
      tampered(token, { scope: '*' }),
      await resigned(token, { exp: past }),
      user.token,
    ]) {
      await expectInactive(presented)
    }
  })

  it.each([
    ['revoked key', 'api_keys set revoked_at = 1 where id = ?'],
    ['expired key', 'api_keys set expires_at = 1 where id = ?'],
    ['disabled key', 'api_keys set disabled_at = 1 where id = ?'],
    ['ended secret', 'key_secrets set revoked_at = 1 where key_id = ?'],
  ])('a secret of a %s', async (_, change) => {
    const ended = await makeLimitedDevice(user, limits)
    await execute(`update ${change}`, ended.keyId)
    await expectInactive(ended.secret)
  })

  it('a secret and a token of a deleted device', async () => {
    const deleted = await makeLimitedDevice(user, limits)
    const token = await fetchToken(deleted)
    await call('DELETE', `/v1/devices/${deleted.id}`, { token: user.token })
    await expectInactive(deleted.secret)
    await expectInactive(token)
  })

  it("§4: another owner's", async () => {
    const other = await makeUser()
    const foreign = await makeLimitedDevice(other, limits)
    const token = await fetchToken(foreign)
    await expectInactive(foreign.secret)
    await expectInactive(token)
  })
})

describe.each(KEY_KINDS)('RFC 7662 §2.1: who may ask with %s', (_, limits) => {
  beforeAll(async () => await setUp(limits))

  it('a verifier by its key, by its token, in every header, and as a client', async () => {
    const token = await fetchToken(verifier)
    const { id: client_id, secret: client_secret } = verifier
    const answers = [
      await postForm(INTROSPECT, { token: device.secret, client_id, client_secret }),
      await introspect(device.secret),
    ]
    for (const credential of [verifier.secret, token]) {
      for (const headers of [
        { Authorization: `Bearer ${credential}` },
        { Authorization: `ApiKey ${credential}` },
        { 'X-API-Key': credential },
      ]) {
        answers.push(await postForm(INTROSPECT, { token: device.secret }, headers))
      }
    }
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 200, body: { active: true, sub: device.id } })
    }
  })

  it('nobody without a credential: 401, and no error in the challenge (RFC 6750 §3.1)', async () => {
    const answer = await postForm(INTROSPECT, { token: device.secret })
    expectOAuthError(answer, 401, 'invalid_client', BEARER)
  })

  it('§2.3: nobody with a bad one: 401 that asks for the scheme that was used', async () => {
    for (const bad of [forgedFrom(verifier.secret), user.token, 'x', '']) {
      const bearer = { Authorization: `Bearer ${bad}` }
      const answer = await postForm(INTROSPECT, { token: device.secret }, bearer)
      // An empty one presents nothing (RFC 6750 §3.1).
      const challenge = bad === '' ? BEARER : INVALID_TOKEN
      expectOAuthError(answer, 401, 'invalid_client', challenge)
      const client = await postForm(INTROSPECT, { token: device.secret }, basic(verifier.id, bad))
      expectOAuthError(client, 401, 'invalid_client')
    }
  })

  it('nobody with two: invalid_request', async () => {
    const form = { token: device.secret }
    const bearer = { Authorization: `Bearer ${verifier.secret}` }
    const both = { ...bearer, 'X-API-Key': verifier.secret }
    expectOAuthError(await postForm(INTROSPECT, form, both), 400, 'invalid_request')
    const posted = { ...form, client_id: verifier.id, client_secret: verifier.secret }
    for (const header of [bearer, basic(verifier.id, verifier.secret)]) {
      expectOAuthError(await postForm(INTROSPECT, posted, header), 400, 'invalid_request')
    }
  })

  it('nobody whose key or narrowed token does not hold keys:verify', async () => {
    const challenge = `${BEARER}, error="insufficient_scope", scope="keys:verify"`
    const wide = await makeLimitedDevice(user, limits)
    await setPolicy(wide, { scopes: ['*', 'keys:verify'] })
    const narrowed = { Authorization: `Bearer ${await fetchToken(wide, { scope: 'a' })}` }
    const answers = [
      await introspect(verifier.secret, device),
      await postForm(INTROSPECT, { token: verifier.secret }, narrowed),
      await postForm(INTROSPECT, { token: verifier.secret }, { 'X-API-Key': device.secret }),
    ]
    // As an admin gave it, who is one no more.
    await execute(`update api_keys set scopes = '["*","keys:verify-all"]' where id = ?`, wide.keyId)
    answers.push(await introspect(device.secret, wide))
    for (const answer of answers) {
      expectOAuthError(answer, 403, 'insufficient_scope')
      expect(answer.headers.get('www-authenticate')).toBe(challenge)
    }
  })

  it('and who is over its own limit waits: 429', async () => {
    const limited = await makeLimitedDevice(user, limits)
    // A token costs one, as a question does.
    await setPolicy(limited, { scopes: ['keys:verify'], rate_limit: TWO_AN_HOUR })
    const bearer = { Authorization: `Bearer ${await fetchToken(limited)}` }
    const ask = async () => await postForm(INTROSPECT, { token: device.secret }, bearer)
    expect((await ask()).body).toMatchObject({ active: true })
    const over = await ask()
    expectOAuthError(over, 429, 'temporarily_unavailable')
    expect(over.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
  })

  it('§2.1: token is required, once and in a form', async () => {
    const header = basic(verifier.id, verifier.secret)
    const { secret } = device
    for (const answer of [
      await postForm(INTROSPECT, {}, header),
      await postForm(INTROSPECT, { token: '' }, header),
      await postForm(
        INTROSPECT,
        [1, 2].map(() => ['token', secret] as const),
        header,
      ),
      await postForm(`${INTROSPECT}?token=${secret}`, {}, header),
      await call('POST', INTROSPECT, { body: { token: secret }, headers: header }),
    ]) {
      expectOAuthError(answer, 400, 'invalid_request')
      expect(answer.text).not.toContain(secret)
    }
  })
})

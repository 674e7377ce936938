import { parseEnv } from 'node:util'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestHarness, type TestHarnessOptions } from 'wrangler'
import { makeSecretLines } from '../../scripts/fresh-secrets.ts'

const { SIGNING_KEYS = '', KEY_CHECK_SECRETS = '' } = parseEnv(makeSecretLines())
const AUDIENCE = 'https://api.example'

/** What the library makes of 401 `invalid_client`: it reads the challenge first. */
const CHALLENGED = { status: 401, cause: [{ scheme: 'basic' }] }

type Registered = { readonly id: string; readonly secret: string }

/** Latchkey as it is deployed, under its own origin: clients hold the issuer to where it was found. */
const server = createTestHarness(optionsFor('http://localhost'))
let origin: URL
let accessToken: string
let verifier: Registered

function optionsFor(publicUrl: string): TestHarnessOptions {
  return {
    workers: [
      {
        configPath: new URL('../../wrangler.toml', import.meta.url),
        vars: {
          PUBLIC_URL: publicUrl,
          REGISTRATION: 'open',
          DEVICE_TOKEN_AUDIENCES: `${AUDIENCE},${publicUrl}`,
        },
        secrets: { SIGNING_KEYS, KEY_CHECK_SECRETS },
      },
    ],
  }
}

async function call(path: string, body: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(new URL(path, origin), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${accessToken}` },
    body: JSON.stringify(body),
  })
  const answer: unknown = await response.json()
  if (typeof answer !== 'object' || answer === null) throw new Error('no object')
  return { ...answer }
}

async function register(name: string, scopes: readonly string[]): Promise<Registered> {
  const { device, api_key } = await call('/v1/devices', { name, key: { scopes } })
  if (typeof device !== 'object' || device === null || !('id' in device)) throw new Error('no id')
  return { id: String(device.id), secret: String(api_key) }
}

/** The client as its library finds it, from the issuer alone (RFC 8414). */
async function discover(
  { id, secret }: Registered,
  method: (secret: string) => client.ClientAuth = client.ClientSecretBasic,
): Promise<client.Configuration> {
  return await client.discovery(origin, id, undefined, method(secret), {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests],
  })
}

beforeAll(async () => {
  const { url } = await server.listen()
  await server.update(optionsFor(url.origin))
  const { url: updated } = await server.listen()
  expect(updated.origin).toBe(url.origin)
  origin = updated
  await server.getWorker('latchkey').applyD1Migrations('DB')
  const account = { username: 'oauth-owner', password: 'a password of the tests' }
  accessToken = ''
  await call('/v1/users', account)
  accessToken = String((await call('/v1/sessions', account))['access_token'])
  verifier = await register('verifier', ['keys:verify'])
})

afterAll(async () => {
  await server.close()
})

describe('openid-client, unmodified', () => {
  it('discovers the deployment (RFC 8414)', async () => {
    const metadata = (await discover(verifier)).serverMetadata()
    expect(metadata.issuer).toBe(origin.origin)
    expect(metadata.token_endpoint).toBe(`${origin.origin}/oauth/token`)
  })

  it.each([
    ['client_secret_basic', client.ClientSecretBasic],
    ['client_secret_post', client.ClientSecretPost],
  ])('gets a token by %s, asks about it and revokes it', async (method, authentication) => {
    const device = await register(`sensor ${method}`, ['telemetry:*'])
    const sensor = await discover(device, authentication)
    const granted = await client.clientCredentialsGrant(sensor, { scope: 'telemetry:write' })
    expect(granted).toMatchObject({ token_type: 'bearer', scope: 'telemetry:write' })
    expect(granted.expiresIn()).toBeGreaterThan(880)

    const asker = await discover(verifier, authentication)
    const active = await client.tokenIntrospection(asker, granted.access_token)
    expect(active).toMatchObject({
      active: true,
      scope: 'telemetry:write',
      client_id: device.id,
      sub: device.id,
      iss: origin.origin,
      aud: AUDIENCE,
    })

    await client.tokenRevocation(sensor, granted.access_token)
    for (const presented of [granted.access_token, device.secret]) {
      expect(await client.tokenIntrospection(asker, presented)).toEqual({ active: false })
    }
    await expect(client.clientCredentialsGrant(sensor)).rejects.toMatchObject(CHALLENGED)
  })

  it('understands the errors', async () => {
    const device = await register('narrow', ['a'])
    const sensor = await discover(device)
    await expect(client.clientCredentialsGrant(sensor, { scope: 'b' })).rejects.toMatchObject({
      error: 'invalid_scope',
      error_description: expect.stringMatching(/\S/),
    })
    const elsewhere = { resource: 'https://other.example' }
    await expect(client.clientCredentialsGrant(sensor, elsewhere)).rejects.toMatchObject({
      error: 'invalid_target',
    })
    await expect(client.tokenIntrospection(sensor, 'x')).rejects.toMatchObject({ status: 403 })
    const stranger = await discover({ ...device, secret: 'made-up:secret%' })
    await expect(client.clientCredentialsGrant(stranger)).rejects.toMatchObject(CHALLENGED)
  })
})

describe('openid-client, for a device that holds nothing (RFC 8628)', () => {
  it('asks for a code, polls by itself, and gets its secret once its owner approves', async () => {
    const model = await client.discovery(origin, 'acme-thermo-2', undefined, client.None(), {
      algorithm: 'oauth2',
      execute: [client.allowInsecureRequests],
    })
    const asked = await client.initiateDeviceAuthorization(model, { scope: 'telemetry:write' })
    expect(asked.verification_uri).toBe(`${origin.origin}/claim`)
    const polling = client.pollDeviceAuthorizationGrant(model, { ...asked, interval: 1 })
    const decision = { decision: 'approve', name: 'claimed' }
    await call(`/v1/claims/${asked.user_code}`, decision)
    const granted = await polling
    expect(granted).toMatchObject({ scope: 'telemetry:write', device_id: expect.any(String) })
    expect(granted.expires_in).toBeUndefined()
    const self = await fetch(new URL('/v1/device', origin), {
      headers: { Authorization: `Bearer ${granted.access_token}` },
    })
    expect(await self.json()).toMatchObject({ device: { name: 'claimed' } })

    const again = client.pollDeviceAuthorizationGrant(model, { ...asked, interval: 1 })
    await expect(again).rejects.toMatchObject({ error: 'invalid_grant' })
  })

  it('is told that its owner said no', async () => {
    const model = await client.discovery(origin, 'acme-thermo-2', undefined, client.None(), {
      algorithm: 'oauth2',
      execute: [client.allowInsecureRequests],
    })
    const asked = await client.initiateDeviceAuthorization(model, {})
    await call(`/v1/claims/${asked.user_code}`, { decision: 'deny' })
    const polling = client.pollDeviceAuthorizationGrant(model, { ...asked, interval: 1 })
    await expect(polling).rejects.toMatchObject({ error: 'access_denied' })
  })
})

describe('jose, unmodified', () => {
  it('verifies a device token offline, from the JWKS URL', async () => {
    const device = await register('offline', ['telemetry:*'])
    const sensor = await discover(device)
    const { access_token: token } = await client.clientCredentialsGrant(sensor)
    const keys = createRemoteJWKSet(new URL(String(sensor.serverMetadata().jwks_uri)))
    const expected = { issuer: origin.origin, audience: AUDIENCE }
    const { payload, protectedHeader } = await jwtVerify(token, keys, expected)
    expect(protectedHeader).toMatchObject({ alg: 'ES256', typ: 'JWT' })
    expect(payload).toMatchObject({
      sub: device.id,
      client_id: device.id,
      scope: 'telemetry:*',
      aud: AUDIENCE,
    })
    const wrong = { ...expected, audience: origin.origin }
    await expect(jwtVerify(token, keys, wrong)).rejects.toMatchObject({ claim: 'aud' })
    await expect(jwtVerify(accessToken, keys, expected)).rejects.toMatchObject({ claim: 'aud' })
    const asked = await client.clientCredentialsGrant(sensor, { resource: origin.origin })
    expect((await jwtVerify(asked.access_token, keys, wrong)).payload.sub).toBe(device.id)
  })
})

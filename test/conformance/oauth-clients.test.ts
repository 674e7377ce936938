import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  AUDIENCE,
  type Deployment,
  discoverClient,
  type Registered,
  startDeployment,
} from './support/oauth-deployment.ts'

/** What the library makes of 401 `invalid_client`: it reads the challenge first. */
const CHALLENGED = { status: 401, cause: [{ scheme: 'basic' }] }

let latchkey: Deployment
let verifier: Registered

beforeAll(async () => {
  latchkey = await startDeployment()
  verifier = await latchkey.register('verifier', ['keys:verify'])
})

afterAll(async () => {
  await latchkey.close()
})

describe('openid-client, unmodified', () => {
  it('discovers the deployment (RFC 8414)', async () => {
    const metadata = (await discoverClient(latchkey, verifier)).serverMetadata()
    expect(metadata.issuer).toBe(latchkey.origin.origin)
    expect(metadata.token_endpoint).toBe(`${latchkey.origin.origin}/oauth/token`)
  })

  it.each([
    ['client_secret_basic', client.ClientSecretBasic],
    ['client_secret_post', client.ClientSecretPost],
  ])('gets a token by %s, asks about it and revokes it', async (method, authentication) => {
    const device = await latchkey.register(`sensor ${method}`, ['telemetry:*'])
    const sensor = await discoverClient(latchkey, device, authentication)
    const granted = await client.clientCredentialsGrant(sensor, { scope: 'telemetry:write' })
    expect(granted).toMatchObject({ token_type: 'bearer', scope: 'telemetry:write' })
    expect(granted.expiresIn()).toBeGreaterThan(880)

    const asker = await discoverClient(latchkey, verifier, authentication)
    // It asks for its own API: without an audience, about tokens for this deployment itself.
    const mine = { audience: AUDIENCE }
    const active = await client.tokenIntrospection(asker, granted.access_token, mine)
    expect(active).toMatchObject({
      active: true,
      scope: 'telemetry:write',
      client_id: device.id,
      sub: device.id,
      iss: latchkey.origin.origin,
      aud: AUDIENCE,
    })

    const isActive = async (presented: string) =>
      (await client.tokenIntrospection(asker, presented, mine)).active
    await client.tokenRevocation(sensor, granted.access_token)
    expect(await isActive(granted.access_token)).toBe(false)
    expect(await isActive(device.secret)).toBe(true)
    await client.tokenRevocation(sensor, device.secret)
    expect(await isActive(device.secret)).toBe(false)
    await expect(client.clientCredentialsGrant(sensor)).rejects.toMatchObject(CHALLENGED)
  })

  it('understands the errors', async () => {
    const device = await latchkey.register('narrow', ['a'])
    const sensor = await discoverClient(latchkey, device)
    await expect(client.clientCredentialsGrant(sensor, { scope: 'b' })).rejects.toMatchObject({
      error: 'invalid_scope',
      error_description: expect.stringMatching(/\S/),
    })
    const elsewhere = { resource: 'https://other.example' }
    await expect(client.clientCredentialsGrant(sensor, elsewhere)).rejects.toMatchObject({
      error: 'invalid_target',
    })
    await expect(client.tokenIntrospection(sensor, 'x')).rejects.toMatchObject({ status: 403 })
    const stranger = await discoverClient(latchkey, { ...device, secret: 'made-up:secret%' })
    await expect(client.clientCredentialsGrant(stranger)).rejects.toMatchObject(CHALLENGED)
  })
})

describe('openid-client, for a device that holds nothing (RFC 8628)', () => {
  it('asks for a code, polls by itself, and gets its secret once its owner approves', async () => {
    const model = await client.discovery(
      latchkey.origin,
      'acme-thermo-2',
      undefined,
      client.None(),
      {
        algorithm: 'oauth2',
        execute: [client.allowInsecureRequests],
      },
    )
    const asked = await client.initiateDeviceAuthorization(model, { scope: 'telemetry:write' })
    expect(asked.verification_uri).toBe(`${latchkey.origin.origin}/claim`)
    const polling = client.pollDeviceAuthorizationGrant(model, { ...asked, interval: 1 })
    const decision = { decision: 'approve', name: 'claimed' }
    await latchkey.call(`/v1/claims/${asked.user_code}`, decision)
    const granted = await polling
    expect(granted).toMatchObject({ scope: 'telemetry:write', device_id: expect.any(String) })
    expect(granted.expires_in).toBeUndefined()
    const self = await fetch(new URL('/v1/device', latchkey.origin), {
      headers: { Authorization: `Bearer ${granted.access_token}` },
    })
    expect(await self.json()).toMatchObject({ device: { name: 'claimed' } })

    const again = client.pollDeviceAuthorizationGrant(model, { ...asked, interval: 1 })
    await expect(again).rejects.toMatchObject({ error: 'invalid_grant' })
  })

  it('is told that its owner said no', async () => {
    const model = await client.discovery(
      latchkey.origin,
      'acme-thermo-2',
      undefined,
      client.None(),
      {
        algorithm: 'oauth2',
        execute: [client.allowInsecureRequests],
      },
    )
    const asked = await client.initiateDeviceAuthorization(model, {})
    await latchkey.call(`/v1/claims/${asked.user_code}`, { decision: 'deny' })
    const polling = client.pollDeviceAuthorizationGrant(model, { ...asked, interval: 1 })
    await expect(polling).rejects.toMatchObject({ error: 'access_denied' })
  })
})

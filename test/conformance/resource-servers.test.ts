import { clientCredentialsGrant } from 'openid-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { USER_AUDIENCE } from '../../src/settings-schema.ts'
import {
  AUDIENCE,
  type Deployment,
  discoverClient,
  type Registered,
  startDeployment,
} from './support/oauth-deployment.ts'
import { RESOURCE_SERVERS } from './support/resource-servers.ts'

let latchkey: Deployment
let sensor: Registered
/** Device tokens: one for the default audience, one for the issuer itself. */
let token: string
let tokenForIssuer: string

beforeAll(async () => {
  latchkey = await startDeployment()
  sensor = await latchkey.register('sensor', ['telemetry:*'])
  const client = await discoverClient(latchkey, sensor)
  token = (await clientCredentialsGrant(client)).access_token
  const resource = latchkey.origin.origin
  tokenForIssuer = (await clientCredentialsGrant(client, { resource })).access_token
})

afterAll(async () => {
  await latchkey.close()
})

describe.each(RESOURCE_SERVERS)('An API behind $name, unmodified,', (server) => {
  const verify = async (presented: string, audience = AUDIENCE): Promise<unknown> =>
    await server.verify(presented, { issuer: latchkey.origin, audience })

  it('takes a device token (RFC 9068), and learns whose it is and what it may do', async () => {
    const claims = {
      iss: latchkey.origin.origin,
      sub: sensor.id,
      client_id: sensor.id,
      scope: 'telemetry:*',
    }
    expect(await verify(token)).toMatchObject({ ...claims, aud: AUDIENCE })
    const audience = latchkey.origin.origin
    expect(await verify(tokenForIssuer, audience)).toMatchObject({ ...claims, aud: audience })
  })

  it('refuses a device token that is for another audience', async () => {
    await expect(verify(tokenForIssuer)).rejects.toThrow(server.wrongAudience)
    await expect(verify(token, latchkey.origin.origin)).rejects.toThrow(server.wrongAudience)
  })

  it('refuses a device token whose claims were changed', async () => {
    const [header = '', payload = '', signature = ''] = token.split('.')
    const claims: object = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const changed = Buffer.from(JSON.stringify({ ...claims, scope: '*' })).toString('base64url')
    await expect(verify(`${header}.${changed}.${signature}`)).rejects.toThrow(/signature/)
  })

  it("refuses a user's access token by its type, whatever audience is expected", async () => {
    for (const audience of [AUDIENCE, USER_AUDIENCE]) {
      await expect(verify(latchkey.accessToken, audience)).rejects.toThrow(server.wrongType)
    }
  })
})

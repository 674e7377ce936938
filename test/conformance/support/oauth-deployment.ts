import { parseEnv } from 'node:util'
import * as client from 'openid-client'
import { createTestHarness, type TestHarnessOptions } from 'wrangler'
import { makeSecretLines } from '../../../scripts/fresh-secrets.ts'

/** The audience of device tokens for which none is asked. */
export const AUDIENCE = 'https://api.example'

const { SIGNING_KEYS = '', KEY_CHECK_SECRETS = '' } = parseEnv(makeSecretLines())

/** A device that is a client of OAuth's. */
export type Registered = { readonly id: string; readonly secret: string }

/** Latchkey as it is deployed, and a user who has devices there. */
export type Deployment = {
  /** The issuer: clients hold it to where they found it. Also an audience of device tokens. */
  readonly origin: URL
  /** The user's. */
  readonly accessToken: string
  /** Posts as the user. */
  readonly call: (path: string, body: unknown) => Promise<Record<string, unknown>>
  readonly register: (name: string, scopes: readonly string[]) => Promise<Registered>
  readonly close: () => Promise<void>
}

function optionsFor(publicUrl: string): TestHarnessOptions {
  return {
    workers: [
      {
        configPath: new URL('../../../wrangler.toml', import.meta.url),
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

export async function startDeployment(): Promise<Deployment> {
  const server = createTestHarness(optionsFor('http://localhost'))
  const { url } = await server.listen()
  // Only now its port is known.
  await server.update(optionsFor(url.origin))
  const { url: origin } = await server.listen()
  if (origin.origin !== url.origin) throw new Error(`it moved from ${url.origin}`)
  await server.getWorker('latchkey').applyD1Migrations('DB')

  const post = async (path: string, body: unknown, token = '') => {
    const response = await fetch(new URL(path, origin), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    })
    const answer: unknown = await response.json()
    if (typeof answer !== 'object' || answer === null) throw new Error('no object')
    return { ...answer }
  }
  const account = { username: 'oauth-owner', password: 'a password of the tests' }
  await post('/v1/users', account)
  const session: Record<string, unknown> = await post('/v1/sessions', account)
  const accessToken = String(session['access_token'])
  const call = async (path: string, body: unknown): Promise<Record<string, unknown>> =>
    await post(path, body, accessToken)

  const register = async (name: string, scopes: readonly string[]): Promise<Registered> => {
    const { device, api_key } = await call('/v1/devices', { name, key: { scopes } })
    if (typeof device !== 'object' || device === null || !('id' in device)) throw new Error('no id')
    return { id: String(device.id), secret: String(api_key) }
  }
  return { origin, accessToken, call, register, close: async () => await server.close() }
}

/** The client as its library finds it, from the issuer alone (RFC 8414). */
export async function discoverClient(
  { origin }: Deployment,
  { id, secret }: Registered,
  method: (secret: string) => client.ClientAuth = client.ClientSecretBasic,
): Promise<client.Configuration> {
  return await client.discovery(origin, id, undefined, method(secret), {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests],
  })
}

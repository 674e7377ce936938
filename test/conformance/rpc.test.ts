import { parseEnv } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestHarness } from 'wrangler'
import { makeSecretLines } from '../../scripts/fresh-secrets.ts'

const { SIGNING_KEYS = '', KEY_CHECK_SECRETS = '' } = parseEnv(makeSecretLines())

/** Latchkey and a caller, built as they are deployed, in one runtime. */
const server = createTestHarness({
  workers: [
    {
      configPath: new URL('../../wrangler.toml', import.meta.url),
      vars: { PUBLIC_URL: 'http://localhost', REGISTRATION: 'open' },
      secrets: { SIGNING_KEYS, KEY_CHECK_SECRETS },
    },
    { configPath: new URL('./rpc-caller/wrangler.toml', import.meta.url) },
  ],
})

async function call(path: string, body: unknown, token?: string): Promise<Record<string, unknown>> {
  const response = await server.getWorker('latchkey').fetch(`http://localhost${path}`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  })
  const answer: unknown = await response.json()
  if (typeof answer !== 'object' || answer === null) throw new Error('no object')
  return { ...answer }
}

async function verify(presented: unknown, options: object = {}): Promise<unknown> {
  const response = await server.getWorker('rpc-caller').fetch('http://caller', {
    method: 'POST',
    body: JSON.stringify({ presented, options: { owner: 'any', ...options } }),
  })
  return await response.json()
}

let device: { readonly secret: string; readonly ownerId: string }

beforeAll(async () => {
  await server.listen()
  await server.getWorker('latchkey').applyD1Migrations('DB')
  const account = { username: 'rpc-owner', password: 'a password of the tests' }
  const user = await call('/v1/users', account)
  const session = await call('/v1/sessions', account)
  const body = { name: 'sensor', key: { scopes: ['telemetry:*'] } }
  const created = await call('/v1/devices', body, String(session['access_token']))
  device = { secret: String(created['api_key']), ownerId: String(user['id']) }
})

afterAll(async () => {
  await server.close()
})

describe('another Worker verifies over RPC', () => {
  it('and learns whose a good key is', async () => {
    const result = await verify(device.secret, { scopes: ['telemetry:write'] })
    expect(result).toMatchObject({
      valid: true,
      code: 'valid',
      device: { name: 'sensor' },
      owner: { id: device.ownerId },
      key: { scopes: ['telemetry:*'], expires_at: null },
    })
    expect(await verify(device.secret, { fresh: true })).toMatchObject({ valid: true })
  })

  it('and is told why a genuine one is refused', async () => {
    expect(await verify(device.secret, { scopes: ['other'] })).toMatchObject({
      valid: false,
      code: 'insufficient_scope',
    })
  })

  it.each([['not a key'], [''], [null], [5], [{}], ['x'.repeat(100_000)]])(
    'and gets not_found for %j, never an exception',
    async (presented) => {
      expect(await verify(presented)).toEqual({ valid: false, code: 'not_found' })
    },
  )

  it("and sees one owner's keys only, where it asks for them", async () => {
    expect(await verify(device.secret, { owner: device.ownerId })).toMatchObject({ valid: true })
    const foreign = await verify(device.secret, { owner: 'user_00000000000000000000000000' })
    expect(foreign).toEqual({ valid: false, code: 'not_found' })
  })

  it('and is told unavailable when the database is gone', async () => {
    const { DB } = await server.getWorker<{ DB: D1Database }>('latchkey').getEnv()
    await DB.exec('alter table key_secrets rename to key_secrets_gone')
    expect(await verify(device.secret, { fresh: true })).toEqual({
      valid: false,
      code: 'unavailable',
      retry_after: 5,
    })
    await DB.exec('alter table key_secrets_gone rename to key_secrets')
    // An isolate asks a database that failed again after a second.
    const again = async () => await verify(device.secret, { fresh: true })
    await expect.poll(again, { timeout: 10_000 }).toMatchObject({ valid: true })
  })
})

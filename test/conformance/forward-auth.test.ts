import { parseEnv } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createTestHarness } from 'wrangler'
import * as z from 'zod'
import { makeSecretLines } from '../../scripts/fresh-secrets.ts'
import { process } from '../../scripts/tools.ts'
import { findFreePort } from './support/dev-server.ts'
import { call, createdDevice, session } from './support/http-client.ts'
import { FORGED, forged, forgeries, IDENTITY, identityIn } from './support/identity-headers.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import {
  type Fields,
  type RawAnswer,
  type RawRequest,
  type RecordingServer,
  send,
  startRecordingServer,
} from './support/raw-http.ts'

const { SIGNING_KEYS = '', KEY_CHECK_SECRETS = '' } = parseEnv(makeSecretLines())

const latchkey = createTestHarness({
  workers: [
    {
      configPath: new URL('../../wrangler.toml', import.meta.url),
      vars: { PUBLIC_URL: 'http://localhost', REGISTRATION: 'open', PASSWORD_HASH: 'pbkdf2' },
      secrets: { SIGNING_KEYS, KEY_CHECK_SECRETS },
    },
  ],
})

const NAME = '🌡️ Büro, 50 %'

type Device = {
  readonly id: string
  readonly keyId: string
  readonly name: string
  readonly bearer: Fields
}

let origin: string
let owner: { readonly id: string; readonly token: string }
let upstream: RecordingServer
let device: Device

let devicesMade = 0

/** A device whose key has that policy; unless it says otherwise, the proxies let it in. */
async function makeDevice(policy: object = {}): Promise<Device> {
  const name = `${NAME} ${(devicesMade += 1)}`
  const body = { name, key: { scopes: ['telemetry:*', 'site:north'], ...policy } }
  const created = createdDevice.parse(
    (await call(`POST ${origin}/v1/devices`, { token: owner.token, body })).body,
  )
  const bearer: Fields = [['Authorization', `Bearer ${created.api_key}`]]
  return { id: created.device.id, keyId: created.key.id, name, bearer }
}

beforeAll(async () => {
  const { url } = await latchkey.listen()
  origin = url.origin
  await latchkey.getWorker('latchkey').applyD1Migrations('DB')
  const body = { username: 'owner', password: 'a password of the tests' }
  const user = await call(`POST ${origin}/v1/users`, { body })
  const { access_token: token } = session.parse(
    (await call(`POST ${origin}/v1/sessions`, { body })).body,
  )
  owner = { id: z.object({ id: z.string() }).parse(user.body).id, token }
  device = await makeDevice()
  upstream = await startRecordingServer()
})

afterEach(() => {
  upstream.received.length = 0
})

afterAll(async () => {
  upstream.close()
  await latchkey.close()
})

/** What the one request that reached the upstream says of identity. */
function identityReceived(): Record<string, string[]> {
  expect(upstream.received).toHaveLength(1)
  return identityIn(upstream.received[0]?.fields ?? [])
}

function identityOf({ id, keyId, name }: Device, scopes: string): Record<string, string[]> {
  return {
    'x-device-id': [id],
    'x-device-name': [encodeURIComponent(name)],
    'x-owner-id': [owner.id],
    'x-key-id': [keyId],
    'x-device-scopes': [scopes],
  }
}

function expectRefused(answer: RawAnswer, status: number): void {
  expect({ status: answer.status, upstream: upstream.received }).toEqual({ status, upstream: [] })
}

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  '$label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])
    let proxy: Proxy
    const ask = async (request: RawRequest) => await send(proxy.port, request)
    const startBefore = async (latchkey: string) =>
      await kind.start({ latchkey, api: `127.0.0.1:${upstream.port}` })

    beforeAll(async () => {
      proxy = await startBefore(new URL(origin).host)
      return proxy.stop
    })

    test('lets a good key in, and the API learns whose it is', async () => {
      const body = JSON.stringify({ temperature: 21.5, note: 'ü' })
      const path = '/a%20path/b?scope=other&owner=me&x=%2F'
      const answer = await ask({ method: 'POST', path, fields: device.bearer, body })
      expect(answer).toMatchObject({ status: 200, text: 'from the upstream' })
      expect(upstream.received).toMatchObject([{ method: 'POST', url: path, body }])
      expect(identityReceived()).toEqual(identityOf(device, 'telemetry:* site:north'))
    })

    test.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('with %s', async (method) => {
      expect((await ask({ method, fields: device.bearer })).status).toBe(200)
      expect(upstream.received).toMatchObject([{ method, url: '/' }])
      upstream.received.length = 0
      expectRefused(await ask({ method }), 401)
    })

    test('takes the key from X-API-Key, too, and a large body', async () => {
      const secret = device.bearer[0]?.[1].replace('Bearer ', '') ?? ''
      const body = 'x'.repeat(900_000)
      const fields: Fields = [['x-api-key', secret]]
      expect((await ask({ method: 'PUT', fields, body })).status).toBe(200)
      expect(upstream.received[0]?.body === body).toBe(true)
    })

    test('passes on the scopes of a key that holds as many as it may', async () => {
      const long = Array.from({ length: 63 }, (_, index) => `${index}:`.padEnd(128, 'x'))
      const scopes = ['telemetry:write', ...long]
      const { bearer } = await makeDevice({ scopes })
      expect((await ask({ fields: bearer })).status).toBe(200)
      expect(identityReceived()['x-device-scopes']).toEqual([scopes.join(' ')])
    })

    test('lets nobody in without a key, and says how to present one', async () => {
      const answer = await ask({ path: '/?api_key=x' })
      expectRefused(answer, 401)
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="latchkey"')
    })

    test('lets no forged key in, nor two', async () => {
      const [[, good] = ['', '']] = device.bearer
      const last = good.endsWith('0') ? '1' : '0'
      const madeUp = await ask({ fields: [['Authorization', `${good.slice(0, -1)}${last}`]] })
      expectRefused(madeUp, 401)
      expect(madeUp.headers['www-authenticate']).toContain('error="invalid_token"')
      const two: Fields = [...device.bearer, ['X-API-Key', good.replace('Bearer ', '')]]
      expectRefused(await ask({ fields: two }), 401)
    })

    test('lets no key in that lacks the scope, and names it: 403', async () => {
      const { bearer } = await makeDevice({ scopes: ['other', 'site:*'] })
      // The query is the client's own, and changes nothing of what is asked for.
      const answer = await ask({ path: '/?scope=other', fields: bearer })
      expectRefused(answer, 403)
      expect(answer.headers['www-authenticate']).toBe(
        'Bearer realm="latchkey", error="insufficient_scope", scope="telemetry:write"',
      )
    })

    test('tells a key that is over its limit when to come back: 429', async () => {
      const { bearer } = await makeDevice({ rate_limit: { limit: 1, window_seconds: 3600 } })
      expect((await ask({ fields: bearer })).status).toBe(200)
      upstream.received.length = 0
      const answer = await ask({ method: 'POST', fields: bearer, body: '{}' })
      expectRefused(answer, 429)
      const wait = Number(answer.headers['retry-after'])
      expect(wait).toBeGreaterThan(3000)
      expect(wait).toBeLessThanOrEqual(3600)
    })

    test('answers 503, and when to come back, while the database is behind', async () => {
      const { bearer } = await makeDevice()
      const { DB } = await latchkey.getWorker<{ DB: D1Database }>('latchkey').getEnv()
      await DB.exec('alter table key_secrets rename to gone\nalter table meta rename to gone_too')
      const answer = await ask({ fields: bearer })
      await DB.exec('alter table gone rename to key_secrets\nalter table gone_too rename to meta')
      expectRefused(answer, 503)
      expect(answer.headers).toMatchObject({ 'retry-after': '5' })
      expect(answer.headers).not.toHaveProperty('www-authenticate')
      expect((await ask({ fields: bearer })).status).toBe(200)
    })

    test('lets nobody in while Latchkey cannot be reached', async () => {
      const alone = await startBefore(`127.0.0.1:${await findFreePort()}`)
      onTestFinished(alone.stop)
      const answer = await send(alone.port, { fields: device.bearer })
      expectRefused(answer, kind.name === 'caddy' ? 502 : 503)
    })

    test('passes on no identity that a client made up, however it is written', async () => {
      for (const fields of forgeries()) {
        upstream.received.length = 0
        const answer = await ask({ fields: [...fields, ...device.bearer] })
        // Two of one name may be refused as a whole.
        if (answer.status === 400) continue
        expect(answer.status).toBe(200)
        expect(identityReceived()).toEqual(identityOf(device, 'telemetry:* site:north'))
        expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
      }
    })

    test('passes on none even if the answer were to name nobody, which HAProxy refuses', async () => {
      const anyone = await startRecordingServer(204)
      onTestFinished(anyone.close)
      const alone = await startBefore(`127.0.0.1:${anyone.port}`)
      onTestFinished(alone.stop)
      const answer = await send(alone.port, { fields: forged((name) => name) })
      expect(answer.status).toBe(kind.name === 'haproxy' ? 503 : 200)
      expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
    })

    test('never calls the API for a client that has an identity and no key', async () => {
      for (const fields of forgeries()) {
        const answer = await ask({ fields })
        expect([400, 401]).toContain(answer.status)
        expect(upstream.received).toEqual([])
      }
    })

    test('lets no client hide what Latchkey says, nor say it after the body', async () => {
      const hiding = IDENTITY.flatMap((name) => [name, name.toLowerCase()])
      for (const names of [hiding.join(', '), `close, ${hiding.join(',')}`, 'x-owner-id']) {
        upstream.received.length = 0
        const answer = await ask({ fields: [['Connection', names], ...device.bearer] })
        if (answer.status === 400) continue
        expect(identityReceived()).toEqual(identityOf(device, 'telemetry:* site:north'))
      }
      upstream.received.length = 0
      const trailers = forged((name) => name)
      await ask({ method: 'POST', fields: device.bearer, body: 'x', trailers })
      expect(identityReceived()).toEqual(identityOf(device, 'telemetry:* site:north'))
      if (kind.passesTrailers) return
      expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
    })
  },
)

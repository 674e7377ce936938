import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { process } from '../../scripts/tools.ts'
import { filesWith, leaksInto, leaksIntoText } from './support/byte-search.ts'
import { makeCheckout, run, runScript } from './support/checkout.ts'
import {
  type DevServer,
  findFreePort,
  killDevServers,
  processesOf,
  startDevServer,
  stopDevServer,
} from './support/dev-server.ts'
import { call, createdDevice, issuedKey, session } from './support/http-client.ts'

const devVars = z.object({
  SIGNING_KEYS: z.string(),
  KEY_CHECK_SECRETS: z.string(),
  REGISTRATION: z.literal('open'),
})
const signingKeys = z.object({ keys: z.array(z.object({ d: z.string() })) })
const checkSecrets = z.array(z.object({ key: z.string() }))

const hasPython = spawnSync('python3', ['--version']).status === 0

/** Everything secret that was issued or presented, by what it is. */
const secrets = new Map<string, string>()
const account = { username: `ada-${randomBytes(8).toString('hex')}`, password: aPassword() }
const report = { marker: `report-${randomBytes(8).toString('hex')}` }

let checkout: string
let port: number
let server: DevServer
let madeVars: string
let device: { readonly id: string; readonly apiKey: string }
let limited: string
/** What the servers said that were stopped. */
let said = ''

beforeAll(async () => {
  secrets.set("the user's password", account.password)
  checkout = await makeCheckout()
  port = await findFreePort()
  server = await startDevServer(checkout, port)
})

afterAll(() => {
  killDevServers()
  rmSync(checkout, { recursive: true, force: true, maxRetries: 3 })
})

describe('npm run dev in a fresh clone', () => {
  it('answers as soon as it says that it listens', async () => {
    expect(await call(`GET ${server.url}/healthz`)).toMatchObject({ status: 200 })
  })

  it('makes .dev.vars with fresh values that only its owner may read', () => {
    madeVars = readFileSync(join(checkout, '.dev.vars'), 'utf8')
    expect(statSync(join(checkout, '.dev.vars')).mode & 0o777).toBe(0o600)
    const values = devVars.parse(parseEnv(madeVars))
    const { keys } = signingKeys.parse(JSON.parse(values.SIGNING_KEYS))
    const [checkSecret] = checkSecrets.parse(JSON.parse(values.KEY_CHECK_SECRETS))
    keepSecret('SIGNING_KEYS', values.SIGNING_KEYS)
    keepSecret('the private signing key', keys[0]?.d)
    keepSecret('KEY_CHECK_SECRETS', values.KEY_CHECK_SECRETS)
    keepSecret('the check secret', checkSecret?.key)
    const written = ['scripts', 'src', 'test', 'drizzle'].map((folder) => join(checkout, folder))
    expect(leaksInto(written, secrets)).toEqual([])
  })

  it('is what the demo plays its story against, one line a step', async () => {
    const demo = await runScript(checkout, 'demo.ts', [server.url])
    expect(demo).toMatchObject({ code: 0, stderr: '' })
    const lines = demo.stdout.trimEnd().split('\n')
    expect(lines.length).toBeGreaterThanOrEqual(7)
    expect(lines.filter((line) => !line.startsWith('ok  '))).toEqual([])
  })

  it.skipIf(!hasPython && !process.env['CI'])(
    'serves a Python client of the old system unchanged (apt-get install --yes python3)',
    async () => {
      const password = keepSecret("the Python client's password", aPassword())
      keepSecret("the Python client's wrong password", `${password}?`)
      const args = ['test/conformance/classic_client.py', server.url, 'grace', password]
      const client = await run(checkout, 'python3', args)
      expect(client).toMatchObject({ code: 0, stderr: '' })
      keepToken(
        "the Python client's access token",
        /^access token: (.+)$/m.exec(client.stdout)?.[1],
      )
      keepSecret("the Python client's API key", /^api key: (.+)$/m.exec(client.stdout)?.[1])
    },
  )

  it('serves a user from the registration to a device that checks in', async () => {
    expect(await post('/v1/users', account)).toMatchObject({ status: 201 })
    const opened = session.parse((await post('/v1/sessions', account)).body)
    keepToken('the first access token', opened.access_token)
    const spent = keepSecret('the first refresh token', opened.refresh_token)
    const refreshing = await post('/v1/sessions/refresh', { refresh_token: spent })
    const refreshed = session.parse(refreshing.body)
    keepSecret('the second refresh token', refreshed.refresh_token)
    const token = keepToken('the second access token', refreshed.access_token)

    const creation = await post('/v1/devices', { name: 'sensor' }, token)
    const created = createdDevice.parse(creation.body)
    const first = keepSecret('the first API key', created.api_key)
    const path = `/v1/devices/${created.device.id}`
    expect(creation.headers.get('location')).toBe(`http://localhost:${port}${path}`)

    const overlap = { overlap_seconds: 60 }
    const rotation = await post(`${path}/keys/${created.key.id}/rotate`, overlap, token)
    const rotated = issuedKey.parse(rotation.body)
    const apiKey = keepSecret('the second API key', rotated.api_key)
    expect(rotated.key.id).toBe(created.key.id)
    device = { id: created.device.id, apiKey }
    for (const key of [first, apiKey]) {
      expect(await post('/v1/device/check-ins', { report }, key)).toMatchObject({ status: 201 })
    }
  })

  it('counts a limited key', async () => {
    const opened = session.parse((await post('/v1/sessions', account)).body)
    keepSecret('another refresh token', opened.refresh_token)
    const token = keepToken('another access token', opened.access_token)
    const key = { rate_limit: { limit: 3, window_seconds: 86_400 } }
    const creation = await post('/v1/devices', { name: 'limited', key }, token)
    limited = keepSecret('the limited API key', createdDevice.parse(creation.body).api_key)
    expect(await statusOf(limited)).toBe(200)
    expect(await statusOf(limited)).toBe(200)
  })

  it('names itself by its port in the problems of whom it refuses', async () => {
    const password = keepSecret('a wrong password', aPassword())
    const refused = await post('/v1/sessions', { ...account, password })
    const origin = `http://localhost:${port}`
    expect(refused).toMatchObject({
      status: 401,
      body: { type: `${origin}/problems/invalid_credentials` },
    })
    const madeUp = keepSecret('a made-up API key', `lk_${randomBytes(20).toString('hex')}`)
    expect(await call(`GET ${server.url}/v1/device`, { token: madeUp })).toMatchObject({
      status: 401,
      body: { type: `${origin}/problems/invalid_credential` },
    })
  })

  it('keeps no secret in any file, and prints none', expectNoLeak)

  it('ends whole on SIGTERM', async () => {
    const names = processesOf(server).map(({ name }) => name)
    expect(names).toContainEqual(expect.stringContaining('workerd'))
    expect(await stopDevServer(server, 'SIGTERM')).toEqual([])
    said += server.output()
  })
})

describe('npm run dev again', () => {
  beforeAll(async () => {
    server = await startDevServer(checkout, port)
  })

  it('keeps the settings', () => {
    expect(readFileSync(join(checkout, '.dev.vars'), 'utf8')).toBe(madeVars)
  })

  it('keeps the user, the device, its key and its report', async () => {
    const opened = session.parse((await post('/v1/sessions', account)).body)
    keepSecret('the third refresh token', opened.refresh_token)
    const token = keepToken('the third access token', opened.access_token)
    expect(await call(`GET ${server.url}/v1/device`, { token: device.apiKey })).toMatchObject({
      status: 200,
      body: { device: { id: device.id } },
    })
    expect(await call(`GET ${server.url}/v1/devices/${device.id}`, { token })).toMatchObject({
      status: 200,
      body: { last_report: report },
    })
  })

  it('goes on counting in the middle of the window', async () => {
    expect(await statusOf(limited)).toBe(200)
    expect(await statusOf(limited)).toBe(429)
  })

  it('ends whole on Ctrl-C', async () => {
    expect(await stopDevServer(server, 'Ctrl-C')).toEqual([])
    said += server.output()
  })

  it('has left no secret in any file, and has printed none', expectNoLeak)
})

/** Looks for the bytes of everything secret, after it has found what must be there. */
function expectNoLeak(): void {
  const state = join(checkout, '.wrangler')
  const named = filesWith(state, account.username)
  expect(named).toContainEqual(expect.stringMatching(/\/d1\/.+\.sqlite(-wal)?$/))
  expect(filesWith(state, report.marker)).toContainEqual(expect.stringContaining('/do/'))
  expect([...secrets.keys()].length).toBeGreaterThanOrEqual(15)
  const logs = join(checkout, '.config')
  expect(leaksInto([state, ...(existsSync(logs) ? [logs] : [])], secrets)).toEqual([])
  expect(said + server.output()).toContain('Latchkey listens')
  expect(leaksIntoText(said + server.output(), secrets)).toEqual([])
}

async function post(path: string, body: Record<string, unknown>, token?: string) {
  const credential = token === undefined ? {} : { token }
  return await call(`POST ${server.url}${path}`, { body, ...credential })
}

async function statusOf(apiKey: string): Promise<number> {
  return (await call(`GET ${server.url}/v1/device`, { token: apiKey })).status
}

/** Remembers a secret, to be looked for. */
function keepSecret(name: string, secret: string | undefined): string {
  if (secret === undefined) throw new Error(`${name} is missing`)
  secrets.set(name, secret)
  return secret
}

/** Remembers a JWT, and its signature: without that the rest of it is none. */
function keepToken(name: string, token: string | undefined): string {
  keepSecret(`the signature of ${name}`, token?.split('.')[2])
  return keepSecret(name, token)
}

function aPassword(): string {
  return randomBytes(24).toString('base64url')
}

import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { makeRefreshToken } from '../../src/crypto/secrets.ts'
import { loadSettings } from '../../src/settings.ts'
import { type Answer, call } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import {
  D1_MESSAGE,
  endOutage,
  withFailingDatabase,
  withFailingDeviceStates,
} from '../support/environments.ts'
import { expectProblem } from '../support/expectations.ts'
import {
  makeDevice,
  makeUser,
  PASSWORD,
  type TestDevice,
  type TestUser,
} from '../support/fixtures.ts'
import { basic, postForm } from '../support/oauth.ts'
import { type NamedRoute, pathOf, routesFor } from '../support/route-table.ts'

/** What needs no database. */
const WITHOUT_D1 = new Set([
  'GET /problems/:code',
  'GET /claim',
  'GET /.well-known/jwks.json',
  'GET /.well-known/oauth-authorization-server',
])

afterEach(() => {
  endOutage()
  vi.restoreAllMocks()
  vi.useRealTimers()
})

async function callWell(
  route: NamedRoute,
  { user, device }: { readonly user: TestUser; readonly device: TestDevice },
  environment: Env,
): Promise<Answer> {
  if (route.form !== undefined) {
    const client = route.credential === 'client' ? basic(device.id, device.secret) : {}
    return await postForm(route.pattern, route.form, client, environment)
  }
  const ids = {
    session: user.sessionId,
    device: device.id,
    key: device.keyId,
    claim: 'BCDF-GHJK',
    'problem code': 'not_found',
  }
  const token = route.credential === 'device secret' ? device.secret : user.token
  const body =
    route.name === 'POST /v1/sessions/refresh'
      ? { refresh_token: await genuineRefreshToken(user) }
      : route.credential === 'body field'
        ? { api_key: device.secret }
        : route.body
  return await call(
    route.method,
    pathOf(route, (kind) => ids[kind]),
    {
      body,
      env: environment,
      ...(route.credential === 'access token' || route.credential === 'device secret'
        ? { token }
        : {}),
    },
  )
}

async function genuineRefreshToken(user: TestUser): Promise<string> {
  return (await makeRefreshToken(user.sessionId, loadSettings(env).checkSecrets)).token
}

function expectUnavailable(answer: Answer, route: NamedRoute): void {
  const isProblem = [route.classic, route.form, route.page].every((kind) => kind === undefined)
  if (isProblem) return expectProblem(answer, 503, 'unavailable')
  if (route.form !== undefined && route.page === undefined) {
    expect(answer.body).toMatchObject({ error: 'temporarily_unavailable' })
  }
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
}

describe('while D1 fails', () => {
  it.each(routesFor())('$name says so, and never that a credential is bad', async (route) => {
    // Past the health probe's memory.
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(Date.now() + 60_000)
    const user = await makeUser()
    const stage = { user, device: await makeDevice(user) }
    const lines = captureConsole()
    const answer = await callWell(route, stage, withFailingDatabase())
    if (WITHOUT_D1.has(route.name)) {
      expect(answer.status).toBe(200)
      return
    }
    expectUnavailable(answer, route)
    const requestId = answer.headers.get('x-request-id')
    expect(eventsOf(lines, 'request')).toMatchObject([{ id: requestId, status: 503 }])

    const said = answer.text + lines.map(({ text }) => text).join('\n')
    const secrets = [user.token, stage.device.secret, PASSWORD, user.username, 'a long password']
    for (const secret of [...secrets, 'someone', user.token.slice(-40)]) {
      expect(said).not.toContain(secret)
    }
    expect(answer.text).not.toMatch(/D1_|network|sql|insert|select/i)
  })

  it('a made-up credential is refused all the same, for that needs no D1', async () => {
    const down = withFailingDatabase()
    for (const path of ['/v1/device', '/v1/me']) {
      const answer = await call('GET', path, { token: 'made-up', env: down })
      expectProblem(answer, 401, 'invalid_credential')
    }
    const body = { refresh_token: 'lkr_made-up' }
    const refreshed = await call('POST', '/v1/sessions/refresh', { body, env: down })
    expectProblem(refreshed, 401, 'invalid_credential')
  })

  it('the log says what D1 said, under the id of the request', async () => {
    const { token } = await makeUser()
    const lines = captureConsole()
    const answer = await call('GET', '/v1/me', { token, env: withFailingDatabase() })
    const id = answer.headers.get('x-request-id')
    expect(eventsOf(lines, 'failure')).toMatchObject([{ id, database: D1_MESSAGE }])
    expect(lines.every(({ level }) => level === 'error')).toBe(true)
  })

  it('nothing of it is kept: what failed works as soon as D1 does, and is asked', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    for (const [path, token] of [
      ['/v1/device', device.secret],
      ['/v1/me', user.token],
    ] as const) {
      expect((await call('GET', path, { token, env: withFailingDatabase() })).status).toBe(503)
      endOutage()
      expect((await call('GET', path, { token })).status).toBe(200)
    }
  })
})

describe('while the device’s object fails', () => {
  it('what needs it is unavailable, and the rest is not', async () => {
    const user = await makeUser()
    const { id, secret } = await makeDevice(user)
    const down = withFailingDeviceStates()
    const lines = captureConsole()
    const checkIn = await call('POST', '/v1/device/check-ins', {
      token: secret,
      body: {},
      env: down,
    })
    expectProblem(checkIn, 503, 'unavailable')
    const read = await call('GET', `/v1/devices/${id}`, { token: user.token, env: down })
    expectProblem(read, 503, 'unavailable')
    expect(eventsOf(lines, 'failure')).toHaveLength(2)
    expect((await call('GET', '/v1/device', { token: secret, env: down })).status).toBe(200)
    expect((await call('GET', '/v1/devices', { token: user.token, env: down })).status).toBe(200)
  })
})

describe('a failure that nobody foresaw', () => {
  it('is a 500 that tells nothing, and a log line that quotes nothing', async () => {
    const { token, username } = await makeUser()
    const broken = new Proxy(env.DB, {
      get: () => () => {
        throw new TypeError(`cannot bind ${username} with ${token}`)
      },
    })
    const lines = captureConsole()
    const answer = await call('GET', '/v1/me', { token, env: { ...env, DB: broken } })
    expectProblem(answer, 500, 'internal_error')
    const [failure] = eventsOf(lines, 'failure')
    expect(failure).toMatchObject({ id: answer.headers.get('x-request-id') })
    const said = answer.text + JSON.stringify(lines)
    for (const secret of [username, token, 'cannot bind']) expect(said).not.toContain(secret)
  })
})

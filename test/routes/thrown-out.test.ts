import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { emptyDeletedDevices } from '../../src/services/devices/empty-deleted-devices.ts'
import { answerClaim, askForCodes } from '../support/claims.ts'
import { type Answer, call, type CallOptions, pick } from '../support/client.ts'
import { withRace } from '../support/databases.ts'
import { expectProblem } from '../support/expectations.ts'
import {
  makeDevice,
  makeUser,
  setCheapPassword,
  type TestDevice,
  type TestUser,
} from '../support/fixtures.ts'
import { contextAt } from '../support/isolates.ts'
import { makeLimitedDevice } from '../support/limits.ts'
import { basic, expectOAuthError } from '../support/oauth.ts'
import { contentsOf, NOTHING } from '../support/objects.ts'
import { type NamedRoute, pathOf, routesFor } from '../support/route-table.ts'
import { dumpDatabase, execute, rowsOf } from '../support/rows.ts'

/** A body that begins, waits until `act` is done, and only then ends. */
function bodyAround(text: string, act: () => Promise<unknown>): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text)
  return new ReadableStream({
    async start(controller) {
      controller.enqueue(bytes.slice(0, 1))
      await act()
      controller.enqueue(bytes.slice(1))
      controller.close()
    },
  })
}

const JSON_TYPE = { 'Content-Type': 'application/json' }

type Sender = { readonly user: TestUser; readonly device: TestDevice }

/** Somebody whose request would be taken: every id of the path is theirs. */
async function makeSender(): Promise<Sender> {
  const user = await makeUser()
  await setCheapPassword(user, 'the old password')
  return { user, device: await makeDevice(user) }
}

async function pathFor(route: NamedRoute, { user, device }: Sender): Promise<string> {
  const { userCode } = await askForCodes()
  // An approval is what DELETE takes back.
  if (route.method === 'DELETE') await answerClaim(user, { userCode })
  const ids = {
    session: user.sessionId,
    device: device.id,
    key: device.keyId,
    claim: userCode,
    'problem code': '',
  }
  return pathOf(route, (kind) => ids[kind])
}

const endSession = async ({ user }: Sender) =>
  await execute('update sessions set revoked_at = 1 where id = ?', user.sessionId)

/** Sends what would change something, and holds that it is refused and changes nothing. */
async function expectThrownOut(
  route: NamedRoute,
  sender: Sender,
  options: (end: () => Promise<void>) => CallOptions,
): Promise<void> {
  const path = await pathFor(route, sender)
  let before = ''
  const end = async () => {
    await endSession(sender)
    before = await dumpDatabase()
  }
  const answer = await call(route.method, path, {
    token: sender.user.token,
    headers: JSON_TYPE,
    ...options(end),
  })
  expect(before).not.toBe('')
  expect(await dumpDatabase()).toBe(before)
  if (route.classic !== true) expectProblem(answer, 401, 'revoked')
  else expect(answer).toMatchObject({ status: 401, body: { message: expect.any(String) } })
}

const CHANGES = routesFor('access token').filter(({ method }) => method !== 'GET')

describe('a user whose session ends while their request is under way changes nothing', () => {
  it.each(CHANGES)('if it ends while the body of $name comes', async (route) => {
    const text = JSON.stringify(route.body ?? {})
    await expectThrownOut(route, await makeSender(), (end) => ({ raw: bodyAround(text, end) }))
  })

  it.each(CHANGES)('if it ends right before $name is committed', async (route) => {
    const body = route.body ?? {}
    await expectThrownOut(route, await makeSender(), (end) => ({ body, env: withRace(end) }))
  })

  it('if the account is disabled right before the commit', async () => {
    const sender = await makeSender()
    const { id, token } = sender.user
    const disable = async () => await execute('update users set disabled_at = 1 where id = ?', id)
    const body = { name: 'another' }
    const answer = await call('POST', '/v1/devices', { token, body, env: withRace(disable) })
    expect(answer.status).toBe(401)
    expect(await rowsOf('select id from devices where user_id = ?', id)).toHaveLength(1)
  })
})

describe('whoever is thrown out while their body comes', () => {
  it('does not get a session back by a refresh that began before its end', async () => {
    const { user } = await makeSender()
    const signedIn = await call('POST', '/v1/sessions', {
      body: { username: user.username, password: 'the old password' },
    })
    const token = pick(signedIn.body, 'access_token')
    const body = JSON.stringify({ refresh_token: pick(signedIn.body, 'refresh_token') })
    const end = async () => await call('DELETE', '/v1/sessions/current', { token })
    const answer = await call('POST', '/v1/sessions/refresh', {
      raw: bodyAround(body, end),
      headers: JSON_TYPE,
    })
    expectProblem(answer, 401, 'revoked')
    expectProblem(await call('GET', '/v1/me', { token }), 401, 'revoked')
  })

  it('learns nothing more as a verifier', async () => {
    const { user, device } = await makeSender()
    const verifier = await makeLimitedDevice(user, { scopes: ['keys:verify'] })
    // Warm: its secret is in this isolate's memory.
    await call('GET', '/v1/device', { token: verifier.secret })
    const revoke = async () =>
      await call('DELETE', `/v1/devices/${verifier.id}/keys/${verifier.keyId}`, {
        token: user.token,
      })
    const answer = await call('POST', '/v1/keys/verify', {
      raw: bodyAround(JSON.stringify({ api_key: device.secret }), revoke),
      token: verifier.secret,
      headers: JSON_TYPE,
    })
    expectProblem(answer, 401, 'revoked')
  })

  it('leaves no report in the object of a device that was deleted and emptied', async () => {
    const { user, device } = await makeSender()
    await call('POST', '/v1/device/check-ins', { token: device.secret, body: {} })
    const remove = async () => {
      await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
      await emptyDeletedDevices(contextAt(Date.now() + 600_000))
    }
    const answer = await call('POST', '/v1/device/check-ins', {
      raw: bodyAround(JSON.stringify({ report: { stolen: true } }), remove),
      token: device.secret,
      headers: JSON_TYPE,
    })
    expectProblem(answer, 401, 'revoked')
    expect(await contentsOf(device)).toEqual(NOTHING)
  })

  it('gets no device token', async () => {
    const { user, device } = await makeSender()
    const path = `/v1/devices/${device.id}/keys/${device.keyId}`
    const revoke = async () => await call('DELETE', path, { token: user.token })
    const answer = await call('POST', '/oauth/token', {
      raw: bodyAround('grant_type=client_credentials', revoke),
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        ...basic(device.id, device.secret),
      },
    })
    expectOAuthError(answer, 401, 'invalid_client')
  })
})

describe('the one time of a request', () => {
  it('is when its body had come: rows of the feed outlive every token that they end', async () => {
    const { user, device } = await makeSender()
    let ended = 0
    const wait = async () => {
      await scheduler.wait(300)
      ended = Date.now()
    }
    const answer = await call('PATCH', `/v1/devices/${device.id}`, {
      raw: bodyAround(JSON.stringify({ enabled: false }), wait),
      token: user.token,
      headers: JSON_TYPE,
    })
    expect(answer.status).toBe(200)
    const [row] = await rowsOf('select at from revocations where subject = ?', device.id)
    expect(Number(row?.['at'])).toBeGreaterThanOrEqual(ended)
  })

  it('is when its body had come: audit rows say when something happened', async () => {
    const { user } = await makeSender()
    let ended = 0
    const wait = async () => {
      await scheduler.wait(300)
      ended = Date.now()
    }
    const answer: Answer = await call('POST', '/v1/devices', {
      raw: bodyAround(JSON.stringify({ name: 'slow' }), wait),
      token: user.token,
      headers: JSON_TYPE,
      env,
    })
    expect(answer.status).toBe(201)
    const [event] = await rowsOf(
      `select max(at) as at from audit_events where action = 'device.created' and user_id = ?`,
      user.id,
    )
    expect(Number(event?.['at'])).toBeGreaterThanOrEqual(ended)
  })
})

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { runScheduled } from '../../src/scheduled.ts'
import { type Answer, call, pick } from '../support/client.ts'
import { withLostAnswers } from '../support/databases.ts'
import { countStatuses, expectProblem } from '../support/expectations.ts'
import {
  makeDevice,
  makeUser,
  markUsed,
  type TestDevice,
  type TestUser,
} from '../support/fixtures.ts'
import { countRows, dumpDatabase, execute } from '../support/rows.ts'

/** A request under an Idempotency-Key, sent as often as a test likes. */
type Repeatable = {
  readonly user: TestUser
  readonly send: (key: string, environment?: Env) => Promise<Answer>
  /** The same with another body that is taken as well. */
  readonly sendOther: (key: string) => Promise<Answer>
}

let lastKey = 0
const freshKey = () => {
  lastKey += 1
  return `"a-request-${lastKey}"`
}

const keysOf = ({ id }: TestDevice) => `/v1/devices/${id}/keys`
const rotationOf = ({ id, keyId }: TestDevice) => `/v1/devices/${id}/keys/${keyId}/rotate`
const UNTIL_USED = { until_used: true, overlap_seconds: 60 }

const DOORS: Readonly<Record<string, () => Promise<Repeatable>>> = {
  'creating a device': async () =>
    await makeRepeatable(() => '/v1/devices', [{ name: 'a' }, { name: 'b' }]),
  'creating a key': async () => await makeRepeatable(keysOf, [{ scopes: ['a'] }, { scopes: [] }]),
  'rotating a key': async () =>
    await makeRepeatable(rotationOf, [{ overlap_seconds: 60 }, { overlap_seconds: 61 }]),
  'rotating a key until it is used': async () =>
    await makeRepeatable(rotationOf, [UNTIL_USED, { until_used: true }]),
  'a device rotating its own key': async () =>
    await makeRepeatable(() => '/v1/device/rotate', [{ overlap_seconds: 60 }, {}], 'device'),
}

async function makeRepeatable(
  pathOf: (device: TestDevice) => string,
  [body, other]: readonly [object, object],
  by: 'user' | 'device' = 'user',
): Promise<Repeatable> {
  const user = await makeUser()
  const device = await makeDevice(user)
  await markUsed(device)
  await execute('update api_keys set self_rotation = 1 where id = ?', device.keyId)
  const sendBody = async (sent: object, key: string, environment: Env) =>
    await call('POST', pathOf(device), {
      token: by === 'user' ? user.token : device.secret,
      body: sent,
      headers: { 'Idempotency-Key': key },
      env: environment,
    })
  return {
    user,
    send: async (key, environment = env) => await sendBody(body, key, environment),
    sendOther: async (key) => await sendBody(other, key, env),
  }
}

const secretsOf = async ({ id }: TestUser) =>
  await countRows(
    'key_secrets',
    `key_id in (select k.id from api_keys k join devices d on d.id = k.device_id
       where d.user_id = ?)`,
    id,
  )

describe.each(Object.entries(DOORS))('%s under an Idempotency-Key', (_, makeDoor) => {
  it('is carried out once, and answered again with the same secret', async () => {
    const { user, send } = await makeDoor()
    const before = await secretsOf(user)
    const key = freshKey()
    const first = await send(key)
    expect(first.headers.get('idempotency-replayed')).toBeNull()
    const again = await send(key)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(again.status).toBe(first.status)
    expect(again.body).toEqual(first.body)
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    expect(await secretsOf(user)).toBe(before + 1)
  })

  it('is answered at the retry if the answer was lost after the commit', async () => {
    const { user, send } = await makeDoor()
    const before = await secretsOf(user)
    const key = freshKey()
    expectProblem(await send(key, withLostAnswers()), 503, 'unavailable')
    const again = await send(key)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    const secret = pick(again.body, 'api_key')
    expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
    expect(await secretsOf(user)).toBe(before + 1)
  })

  it('gives the secret away no more once it was used', async () => {
    const { send } = await makeDoor()
    const key = freshKey()
    const secret = pick((await send(key)).body, 'api_key')
    expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
    const again = await send(key)
    expect(again.body).toMatchObject({ api_key: null, already_used: true })
    expect(again.text).not.toContain(secret)
  })

  it('is 422 with another body, and changes nothing', async () => {
    const { send, sendOther } = await makeDoor()
    const key = freshKey()
    await send(key)
    const before = await dumpDatabase()
    expectProblem(await sendOther(key), 422, 'idempotency_key_reused')
    expect(await dumpDatabase()).toBe(before)
  })

  it('20 at once make one, and all are answered with its secret', async () => {
    const { user, send } = await makeDoor()
    const before = await secretsOf(user)
    const key = freshKey()
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(key)))
    const [{ status } = { status: 0 }] = answers
    expect(countStatuses(answers)).toEqual({ [status]: 20 })
    const replayed = answers.filter(({ headers }) => headers.has('idempotency-replayed'))
    expect(replayed).toHaveLength(19)
    expect(new Set(answers.map(({ body }) => pick(body, 'api_key'))).size).toBe(1)
    expect(await secretsOf(user)).toBe(before + 1)
  })

  it('leaves nothing in the database that opens the secret, nor the key itself', async () => {
    const { send } = await makeDoor()
    const key = freshKey()
    const secret = pick((await send(key)).body, 'api_key')
    const dump = await dumpDatabase()
    expect(dump).toContain('"sealed"')
    for (const told of [secret, key.slice(1, -1)]) {
      expect(dump).not.toContain(told)
      expect(dump).not.toContain(Buffer.from(told).toString('base64').slice(0, -4))
      expect(dump).not.toContain(Buffer.from(told).toString('base64url').slice(0, -4))
    }
  })

  it('is refused if the key is too short, too long or sent twice', async () => {
    const { send } = await makeDoor()
    const before = await dumpDatabase()
    for (const key of ['seven77', 'x'.repeat(256), 'a-key-1, a-key-2', 'a key of words']) {
      expectProblem(await send(key), 400, 'invalid_request')
    }
    expect(await dumpDatabase()).toBe(before)
    expect((await send('x'.repeat(255))).status).toBeLessThan(300)
  })
})

describe('an Idempotency-Key', () => {
  const headers = { 'Idempotency-Key': 'the-very-same' }
  const body = { name: 'sensor' }

  it('is its own in another session of the same user, and for another user', async () => {
    const [one, two] = [await makeUser(), await makeUser()]
    const [first, second] = [
      await call('POST', '/v1/devices', { token: one.token, body, headers }),
      await call('POST', '/v1/devices', { token: two.token, body, headers }),
    ]
    expect([first.status, second.status]).toEqual([201, 201])
    expect(pick(first.body, 'api_key')).not.toBe(pick(second.body, 'api_key'))
  })

  it('keeps only successes: what was refused may be sent again with another outcome', async () => {
    const user = await makeUser()
    const device = await makeDevice(user, 'sensor')
    const send = async () => await call('POST', '/v1/devices', { token: user.token, body, headers })
    expectProblem(await send(), 409, 'device_name_taken')
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    expect((await send()).status).toBe(201)
  })

  it('of a stranger whose change fails leaves no row', async () => {
    const device = await makeDevice(await makeUser())
    const stranger = await makeUser()
    const before = await countRows('idempotency', 'true')
    const path = `/v1/devices/${device.id}/keys/${device.keyId}/rotate`
    expect((await call('POST', path, { token: stranger.token, headers })).status).toBe(404)
    expect(await countRows('idempotency', 'true')).toBe(before)
  })

  it('is ignored by what hands out nothing that is kept', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const report = { report: { n: 1 } }
    for (let time = 0; time < 2; time += 1) {
      const answer = await call('POST', '/v1/device/check-ins', {
        token: device.secret,
        body: report,
        headers,
      })
      expect(answer.status).toBe(201)
      expect(answer.headers.get('idempotency-replayed')).toBeNull()
    }
  })

  it('answers 404 for what has been deleted since', async () => {
    const user = await makeUser()
    const send = async () => await call('POST', '/v1/devices', { token: user.token, body, headers })
    const id = pick((await send()).body, 'device', 'id')
    await call('DELETE', `/v1/devices/${id}`, { token: user.token })
    expectProblem(await send(), 404, 'not_found')
  })

  it('is forgotten a day after its success', async () => {
    const user = await makeUser()
    await call('POST', '/v1/devices', { token: user.token, body, headers })
    const young = await countRows('idempotency', 'true')
    await execute('update idempotency set created_at = created_at - 86400001')
    await call('POST', '/v1/devices', {
      token: user.token,
      body: { name: 'b' },
      headers: { 'Idempotency-Key': 'another-key' },
    })
    await runScheduled(env)
    expect(young).toBeGreaterThan(0)
    expect(await countRows('idempotency', 'true')).toBe(1)
  })
})

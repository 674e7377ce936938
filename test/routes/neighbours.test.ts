import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { IsolateState } from '../../src/isolate/state.ts'
import { makeApp } from '../../src/app.ts'
import { issueDeviceToken } from '../../src/services/keys/issue-device-token.ts'
import { askForCodes, answerClaim } from '../support/claims.ts'
import { call, ORIGIN, pick } from '../support/client.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { makeFleet } from '../support/fleets.ts'
import { fakeLimiter } from '../support/environments.ts'
import { meterIo } from '../support/io-meter.ts'
import { contextAt, makeIsolate } from '../support/isolates.ts'
import { makeLimitedDevice } from '../support/limits.ts'
import { basic, fetchToken, postForm } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'
import { loadSettings } from '../../src/settings.ts'

const GRANT = { grant_type: 'client_credentials' }

/** Everything that one user can do in a hurry: changes, rotations, tokens, claims, deletions. */
async function hurry(user: TestUser, round: number): Promise<void> {
  const { token } = user
  const device = await makeDevice(user)
  const key = `/v1/devices/${device.id}/keys/${device.keyId}`
  await call('PATCH', `/v1/devices/${device.id}`, { token, body: { metadata: { round } } })
  await call('PATCH', key, { token, body: { scopes: ['a', 'b'] } })
  await call('PATCH', key, { token, body: { enabled: false } })
  await call('PATCH', key, { token, body: { enabled: true } })
  const rotated = await call('POST', `${key}/rotate`, { token, body: {} })
  const secret = pick(rotated.body, 'api_key')
  const issued = await postForm('/oauth/token', GRANT, basic(device.id, secret))
  const form = { token: pick(issued.body, 'access_token') }
  await postForm('/oauth/revoke', form, basic(device.id, secret))
  await answerClaim(user, await askForCodes())
  await call('DELETE', `/v1/devices/${device.id}`, { token })
  // A dead secret, presented again and again.
  for (let time = 0; time < 5; time += 1) await call('GET', '/v1/device', { token: secret })
}

describe('one hostile user in a hurry', () => {
  it('raises the D1 statements of another’s warm verify by none, by secret and by token', async () => {
    const [hostile, other] = [await makeUser(), await makeUser()]
    const device = await makeLimitedDevice(other, { scopes: ['a'] })
    const token = await fetchToken(device)
    const state = new IsolateState()
    const app = makeApp(state)
    const { env: metered, spent } = meterIo()
    const ask = async (credential: string) => {
      const headers = { Authorization: `Bearer ${credential}` }
      const answer = await app.request('https://latchkey.example/v1/device', { headers }, metered)
      expect(answer.status).toBe(200)
    }
    for (const credential of [device.secret, token]) await ask(credential)
    spent.statements = 0
    for (let round = 0; round < 10; round += 1) {
      await hurry(hostile, round)
      for (const credential of [device.secret, token]) await ask(credential)
    }
    expect(spent.statements).toBe(0)
  })

  it('leaves another’s cold verify at one read, and a cold token’s at one read of the feed', async () => {
    const [hostile, other] = [await makeUser(), await makeUser()]
    const device = await makeLimitedDevice(other, { scopes: ['a'] })
    const token = await fetchToken(device)
    for (let round = 0; round < 5; round += 1) await hurry(hostile, round)
    // What a user may do in the time that the feed is remembered, at 600 changes a minute.
    await execute(
      `insert into revocations (subject, owner_id, at)
       with recursive n (i) as (select 1 union all select i + 1 from n where i < 9000)
       select 'key_' || (i % 100), ?, ? from n`,
      hostile.id,
      Date.now(),
    )
    const isolate = makeIsolate(Date.now())
    for (const credential of [device.secret, token]) {
      isolate.statements.length = 0
      expect(await isolate.codeOf(credential)).toBe('valid')
      expect(isolate.statements).toHaveLength(1)
    }
  })

  it('is read page by page where the feed is longer than one, and every entry counts', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, {})
    const token = await fetchToken(device)
    await execute(
      `insert into revocations (subject, owner_id, at)
       with recursive n (i) as (select 1 union all select i + 1 from n where i < 25000)
       select iif(i = 24000, ?, 'key_' || i), ?, ? from n`,
      device.keyId,
      user.id,
      Date.now(),
    )
    const isolate = makeIsolate(Date.now())
    expect(await isolate.codeOf(token)).toBe('revoked')
    expect(isolate.statements.length).toBeLessThanOrEqual(5)
    isolate.statements.length = 0
    expect(await isolate.codeOf(token)).toBe('revoked')
    expect(isolate.statements).toEqual([])
  })
})

describe('a long feed on a slow D1', () => {
  it('is no outage: each page has its time, and other keys are answered meanwhile', async () => {
    const user = await makeUser()
    const token = await fetchToken(await makeLimitedDevice(user, {}))
    const other = await makeLimitedDevice(user, {})
    await execute(
      `insert into revocations (subject, owner_id, at)
       with recursive n (i) as (select 1 union all select i + 1 from n where i < 30000)
       select 'key_' || i, ?, ? from n`,
      user.id,
      Date.now(),
    )
    // Four pages take longer together than one statement may.
    const settings = { ...loadSettings(env), d1TimeoutMs: 3000 }
    const isolate = makeIsolate(Date.now(), settings)
    const { database } = isolate
    isolate.database = tapDatabase(database, async (_, run) => {
      await scheduler.wait(1000)
      return await run()
    })
    const [judged, cold] = [isolate.codeOf(token), isolate.codeOf(other.secret)]
    expect(await cold).toBe('valid')
    expect(await judged).toBe('valid')
  })
})

describe('a fleet behind one address', () => {
  const FLEET = Number(env.TEST_FLEET)

  it('is served, every one of its good keys', async () => {
    const secrets = await makeFleet(await makeUser(), FLEET)
    const app = makeApp(new IsolateState())
    const statuses = new Map<number, number>()
    for (const secret of secrets) {
      const headers = { Authorization: `Bearer ${secret}`, 'CF-Connecting-IP': '192.0.2.77' }
      const { status } = await app.request('https://latchkey.example/v1/device', { headers }, env)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    expect([...statuses]).toEqual([[200, FLEET]])
  }, 240_000)
})

describe('devices that revoke their tokens', () => {
  it('use up none of the changes of their owner, who may have to disable them', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const limited = { ...env, CHANGE_LIMITER: fakeLimiter(1) }
    const statuses: number[] = []
    for (let time = 0; time < 2; time += 1) {
      const form = { token: await fetchToken(device) }
      const client = basic(device.id, device.secret)
      statuses.push((await postForm('/oauth/revoke', form, client, limited)).status)
    }
    expect(statuses).toEqual([200, 429])
    const body = { enabled: false }
    const path = `/v1/devices/${device.id}`
    const disabled = await call('PATCH', path, { token: user.token, body, env: limited })
    expect(disabled.status).toBe(200)
  })
})

describe('a secret that a rotation ended by time', () => {
  it('is dead: its holder reads D1 once, also where the answer must be fresh', async () => {
    const device = await makeLimitedDevice(await makeUser(), {})
    const past = Date.now() - 1000
    await execute('update key_secrets set expires_at = ? where key_id = ?', past, device.keyId)
    const isolate = makeIsolate(Date.now())
    for (let time = 0; time < 20; time += 1) {
      isolate.now += 400
      expect(await isolate.codeOf(device.secret, { fresh: true })).toBe('expired')
    }
    expect(isolate.statements.filter((text) => text.startsWith('select'))).toHaveLength(1)
    expect(isolate.cache.size).toBe(0)
  })
})

describe('2,000 of the largest tokens and 1,000 secrets that have ended', () => {
  it('leave a busy live key in memory', async () => {
    const user = await makeUser()
    const busy = await makeLimitedDevice(user, { scopes: ['a'] })
    const ended = await makeFleet(user, 1000)
    await execute(
      'update key_secrets set revoked_at = 1 where hint in (select value from json_each(?))',
      JSON.stringify(ended.map((secret) => `${secret.slice(0, 9)}…`)),
    )
    const scopes = Array.from({ length: 64 }, (_, index) => `${index}`.padEnd(128, 'x'))
    const large = await makeLimitedDevice(user, { scopes })
    const isolate = makeIsolate(Date.now())
    const verified = await isolate.verify(large.secret)
    if (!verified.valid || verified.credential.kind !== 'secret') throw new Error('not valid')
    const { policy, credential } = verified
    const { hash: secretHash, snapshot } = credential
    const input = { snapshot, policy, secretHash, scopes, audiences: [ORIGIN] }
    expect(await isolate.codeOf(busy.secret)).toBe('valid')
    for (let count = 0; count < 2000; count += 1) {
      const { token } = await issueDeviceToken(contextAt(isolate.now), input)
      expect(await isolate.codeOf(token)).toBe('valid')
      const dead = ended[count]
      if (dead !== undefined) expect(await isolate.codeOf(dead)).toBe('revoked')
    }
    isolate.statements.length = 0
    expect(await isolate.codeOf(busy.secret)).toBe('valid')
    expect(isolate.statements).toEqual([])
    // The ended ones are in memory, too: their holders read D1 once.
    for (const dead of ended) expect(await isolate.codeOf(dead, { fresh: true })).toBe('revoked')
    expect(isolate.statements).toEqual([])
  }, 120_000)
})

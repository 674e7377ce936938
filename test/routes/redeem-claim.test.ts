import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { IsolateState } from '../../src/isolate/state.ts'
import { redeemClaim } from '../../src/services/claims/redeem-claim.ts'
import { runScheduled } from '../../src/scheduled.ts'
import { call } from '../support/client.ts'
import { answerClaim, askForCodes, type Asker, poll } from '../support/claims.ts'
import { countStatements } from '../support/counting.ts'
import { makeDevice, makeUser, PASSWORD, setCheapPassword } from '../support/fixtures.ts'
import { contextAt } from '../support/isolates.ts'
import { atOnce } from '../support/limits.ts'
import { auditOf, countRows, dumpDatabase, execute, rowsOf } from '../support/rows.ts'
import { forgedFrom } from '../support/tokens.ts'

const refused = (reason: string) => ({ ok: false, reason })

/** An approved claim, and who approved it. */
async function approved(
  fields: Readonly<Record<string, string>> = {},
  decision: Readonly<Record<string, unknown>> = {},
) {
  const user = await makeUser()
  const asker = await askForCodes(fields)
  const answer = await answerClaim(user, asker, { decision: 'approve', ...decision })
  expect(answer.status).toBe(200)
  return { user, asker }
}

/** Polls at once through isolates that know nothing of each other: D1 alone decides. */
async function pollEverywhere(asker: Asker, times: number) {
  return await atOnce(
    times,
    async () => await poll(asker, Date.now(), { isolate: new IsolateState() }),
  )
}

/** The secret that a poll is handed. */
async function redeemed(asker: Asker) {
  const result = await poll(asker)
  if (!result.ok) throw new Error(result.reason)
  return result.value
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
})

afterEach(() => {
  vi.useRealTimers()
})

describe('a poll of an approved claim', () => {
  it('makes the device, its key and the secret, which works at once', async () => {
    const { user, asker } = await approved(
      { scope: 'telemetry:*', device_name: 'Boiler' },
      { scopes: ['telemetry:write'], key: { name: 'main', rate_limit: LIMIT, expires_in: 3600 } },
    )
    const before = await dumpDatabase()
    const { secret, deviceId, keyId, scopes } = await redeemed(asker)
    expect(before).not.toContain(keyId)
    expect(scopes).toEqual(['telemetry:write'])
    const self = await call('GET', '/v1/device', { token: secret })
    expect(self.status).toBe(200)
    const key = await call('GET', `/v1/devices/${deviceId}/keys/${keyId}`, { token: user.token })
    expect(key.body).toMatchObject({
      name: 'main',
      scopes: ['telemetry:write'],
      rate_limit: LIMIT,
      expires_at: new Date(Date.now() + 3_600_000).toISOString(),
      status: 'active',
    })
    const device = await call('GET', `/v1/devices/${deviceId}`, { token: user.token })
    expect(device.body).toMatchObject({ name: 'Boiler', metadata: {} })
    expect(await dumpDatabase()).not.toContain(secret.slice(9))
    const [, made] = await auditOf(user.id)
    expect(made).toMatchObject({
      action: 'device.created',
      actorId: deviceId,
      deviceId,
      keyId,
      after: { name: 'Boiler', claim_id: expect.stringMatching(/^claim_/) },
    })
  })

  it('gives the key to the device that was named, which keeps its other keys', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const asker = await askForCodes()
    await answerClaim(user, asker, { decision: 'approve', device_id: device.id })
    const { secret, deviceId, keyId } = await redeemed(asker)
    expect(deviceId).toBe(device.id)
    for (const token of [secret, device.secret]) {
      expect((await call('GET', '/v1/device', { token })).body).toMatchObject({
        device: { id: device.id, name: device.name },
      })
    }
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
    expect((await auditOf(user.id)).at(-1)).toMatchObject({ action: 'key.created', keyId })
  })

  it('is spent by the first of some at once: one key, and the others wait', async () => {
    const { user, asker } = await approved()
    const results = await pollEverywhere(asker, 3)
    expect(results.filter(({ ok }) => ok)).toHaveLength(1)
    expect(results.filter(({ ok }) => !ok)).toEqual([refused('slow_down'), refused('slow_down')])
    const own = 'device_id in (select id from devices where user_id = ?)'
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
    expect(await countRows('api_keys', own, user.id)).toBe(1)
    const secrets = `key_id in (select id from api_keys where ${own})`
    expect(await countRows('key_secrets', secrets, user.id)).toBe(1)
    expect(await auditOf(user.id)).toHaveLength(2)
  })

  it('of two at once for a named device, one gives it a key', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const asker = await askForCodes()
    await answerClaim(user, asker, { decision: 'approve', device_id: device.id })
    const results = await pollEverywhere(asker, 2)
    expect(results.filter(({ ok }) => ok)).toHaveLength(1)
    expect(await countRows('api_keys', 'device_id = ?', device.id)).toBe(2)
  })

  it('appends a short suffix where the name is taken', async () => {
    const name = 'x'.repeat(80)
    const { user, asker } = await approved({}, { name })
    await makeDevice(user, name)
    const { deviceId } = await redeemed(asker)
    const [row] = await rowsOf('select name from devices where id = ?', deviceId)
    expect(row?.['name']).toBe(`${'x'.repeat(75)}-${deviceId.slice(-4)}`)
  })

  it('is over a minute after its ten', async () => {
    const { asker, user } = await approved()
    // An approval in time is honoured for a minute more.
    vi.setSystemTime(Date.now() + 660_000)
    expect(await poll(asker)).toEqual(refused('expired_token'))
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
  })

  it('gives nothing where the approver is disabled or gone, or the named device is', async () => {
    const disabled = await approved()
    await execute('update users set disabled_at = 1 where id = ?', disabled.user.id)
    expect(await poll(disabled.asker)).toEqual(refused('access_denied'))

    const gone = await approved()
    await setCheapPassword(gone.user, PASSWORD)
    const body = { current_password: PASSWORD }
    expect((await call('DELETE', '/v1/me', { token: gone.user.token, body })).status).toBe(204)
    expect(await poll(gone.asker)).toEqual(refused('invalid_grant'))

    const user = await makeUser()
    const device = await makeDevice(user)
    const asker = await askForCodes()
    await answerClaim(user, asker, { decision: 'approve', device_id: device.id })
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    expect(await poll(asker)).toEqual(refused('invalid_grant'))
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
  })
})

const LIMIT = { limit: 5, window_seconds: 60 }

describe('RFC 8628 §3.5: a poll that gets nothing', () => {
  it('is told authorization_pending at the interval, and slow_down before it', async () => {
    const asker = await askForCodes()
    const after = async (milliseconds: number) => {
      vi.setSystemTime(Date.now() + milliseconds)
      const result = await poll(asker)
      return result.ok ? 'ok' : result.reason
    }
    expect(await after(0)).toBe('authorization_pending')
    expect(await after(5000)).toBe('authorization_pending')
    expect(await after(4999)).toBe('slow_down')
    // The interval is 10 seconds now.
    expect(await after(9999)).toBe('slow_down')
    expect(await after(14_999)).toBe('slow_down')
    expect(await after(20_000)).toBe('authorization_pending')
    const hash = await sha256(asker.deviceCode)
    const ofAsker = 'select interval_seconds from device_claims where device_code_hash = ?'
    expect(await rowsOf(ofAsker, hash)).toEqual([{ interval_seconds: 20 }])
  })

  it('of two at once one is pending and the other too fast', async () => {
    const asker = await askForCodes()
    const reasons = (await Promise.all([poll(asker), poll(asker)])).map((result) =>
      result.ok ? 'ok' : result.reason,
    )
    expect(reasons.toSorted()).toEqual(['authorization_pending', 'slow_down'])
  })

  it('is told access_denied', async () => {
    const asker = await askForCodes()
    await answerClaim(await makeUser(), asker, { decision: 'deny' })
    expect(await poll(asker)).toEqual(refused('access_denied'))
    expect(await poll(asker)).toEqual(refused('access_denied'))
  })

  it('is told expired_token, and invalid_grant once it is forgotten', async () => {
    const asker = await askForCodes()
    const young = await askForCodes()
    const start = Date.now()
    vi.setSystemTime(start + 600_000)
    expect(await poll(asker)).toEqual(refused('expired_token'))
    vi.setSystemTime(start + 4_200_000)
    await runScheduled(env)
    expect(await poll(asker)).toEqual(refused('expired_token'))
    vi.setSystemTime(start + 4_200_000 + 10_000)
    await runScheduled(env)
    // This isolate has not forgotten what it was told of the other one.
    expect(await poll(asker)).toEqual(refused('expired_token'))
    expect(await poll(young)).toEqual(refused('invalid_grant'))
    expect(await countRows('device_claims', 'expires_at < ?', start)).toBe(0)
  })

  it('is told invalid_grant for another client_id, which touches nothing', async () => {
    const { asker } = await approved()
    const before = await dumpDatabase()
    expect(await poll({ ...asker, clientId: 'another' })).toEqual(refused('invalid_grant'))
    expect(await dumpDatabase()).toBe(before)
    expect((await poll(asker)).ok).toBe(true)
  })

  it('is told invalid_grant for a made-up device code, with no I/O', async () => {
    const asker = await askForCodes()
    const { database, statements } = countStatements(env.DB)
    const ctx = { ...contextAt(Date.now(), { database }), ip: null, requestId: null }
    for (const deviceCode of ['', 'made-up', forgedFrom(asker.deviceCode), 'x'.repeat(10_000)]) {
      const result = await redeemClaim(ctx, { ...asker, deviceCode })
      expect(result).toEqual(refused('invalid_grant'))
    }
    expect(statements).toEqual([])
  })
})

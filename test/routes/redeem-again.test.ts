import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { IsolateState } from '../../src/isolate/state.ts'
import { answerClaim, askForCodes, poll } from '../support/claims.ts'
import { type Answer, call, pick } from '../support/client.ts'
import { withLostAnswers } from '../support/databases.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { atOnce } from '../support/limits.ts'
import { statusesOf, useFirst } from '../support/rotations.ts'
import { auditOf, countRows, execute } from '../support/rows.ts'

const refused = (reason: string) => ({ ok: false, reason })

async function approved(body: object = {}) {
  const user = await makeUser()
  const asker = await askForCodes()
  const answer = await answerClaim(user, asker, { decision: 'approve', ...body })
  expect(answer.status).toBe(200)
  return { user, asker }
}

async function secretOf(asker: Parameters<typeof poll>[0], now?: number): Promise<string> {
  const redeemed = await poll(asker, now)
  if (!redeemed.ok) throw new Error(redeemed.reason)
  return redeemed.value.secret
}

const look = async (user: TestUser, userCode: string): Promise<Answer> =>
  await call('GET', `/v1/claims/${userCode}`, { token: user.token })

afterEach(() => {
  vi.useRealTimers()
})

describe('a poll of a claim whose secret was handed out', () => {
  it('gets a fresh secret of the same key, and the earlier one ends', async () => {
    const { user, asker } = await approved()
    const lost = await poll(asker)
    const again = await poll(asker)
    if (!lost.ok || !again.ok) throw new Error('refused')
    const { keyId, deviceId, scopes } = lost.value
    expect(again.value).toMatchObject({ keyId, deviceId, scopes })
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
    expect((await auditOf(user.id)).map(({ action }) => action)).toEqual([
      'claim.approved',
      'device.created',
      'key.rotated',
    ])
    expect(await statusesOf(lost.value.secret, again.value.secret)).toEqual([401, 200])
  })

  it('gets it also where the answer was lost after the commit', async () => {
    const { user, asker } = await approved()
    const form = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: asker.deviceCode,
      client_id: asker.clientId,
    }).toString()
    const send = async (environment: Env) =>
      await call('POST', '/oauth/token', {
        raw: form,
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        env: environment,
      })
    expect((await send(withLostAnswers())).status).toBe(503)
    const granted = await send(env)
    expect(granted.status).toBe(200)
    expect(await statusesOf(pick(granted.body, 'access_token'))).toEqual([200])
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
  })

  it('gets nothing more once the secret was used', async () => {
    const { asker } = await approved()
    const secret = await secretOf(asker)
    await useFirst(secret)
    expect(await poll(asker)).toEqual(refused('invalid_grant'))
    expect(await statusesOf(secret)).toEqual([200])
  })

  it('gets nothing more a minute after the device code has expired', async () => {
    const { asker } = await approved()
    const secret = await secretOf(asker)
    expect(await poll(asker, Date.now() + 661_000)).toEqual(refused('invalid_grant'))
    expect(await statusesOf(secret)).toEqual([200])
  })

  it('gets nothing where the owner has made another secret of the key meanwhile', async () => {
    const { user, asker } = await approved()
    const first = await poll(asker)
    if (!first.ok) throw new Error(first.reason)
    const { deviceId, keyId } = first.value
    const path = `/v1/devices/${deviceId}/keys/${keyId}/rotate`
    const rotated = await call('POST', path, { token: user.token })
    expect(await poll(asker)).toEqual(refused('invalid_grant'))
    expect(await statusesOf(pick(rotated.body, 'api_key'))).toEqual([200])
  })

  it('gets nothing where the key was revoked, or its owner disabled', async () => {
    const revoked = await approved()
    const first = await poll(revoked.asker)
    if (!first.ok) throw new Error(first.reason)
    const { deviceId, keyId } = first.value
    const path = `/v1/devices/${deviceId}/keys/${keyId}`
    await call('DELETE', path, { token: revoked.user.token })
    expect(await poll(revoked.asker)).toEqual(refused('invalid_grant'))

    const disabled = await approved()
    await poll(disabled.asker)
    await execute('update users set disabled_at = 1 where id = ?', disabled.user.id)
    expect(await poll(disabled.asker)).toEqual(refused('invalid_grant'))
  })

  it('is told to slow down after ten fresh secrets in an hour', async () => {
    const { asker } = await approved()
    let secret = await secretOf(asker)
    for (let time = 0; time < 10; time += 1) secret = await secretOf(asker)
    expect(await poll(asker)).toEqual(refused('slow_down'))
    expect(await statusesOf(secret)).toEqual([200])
  })

  it('at once with others leaves one live secret, whichever isolates take them', async () => {
    const { asker } = await approved()
    const first = await poll(asker)
    if (!first.ok) throw new Error(first.reason)
    const pollElsewhere = async () => await poll(asker, Date.now(), { isolate: new IsolateState() })
    const results = await atOnce(3, pollElsewhere)
    expect(results.every(({ ok }) => ok)).toBe(true)
    const live = 'key_id = ? and revoked_at is null'
    expect(await countRows('key_secrets', live, first.value.keyId)).toBe(1)
  })
})

describe('an approval in time', () => {
  it('is honoured for a minute past the end of the code, and not longer', async () => {
    const [{ asker }, late] = [await approved(), await approved()]
    const end = Date.now() + 600_000
    expect(await poll(late.asker, end + 61_000)).toEqual(refused('expired_token'))
    const secret = await secretOf(asker, end + 50_000)
    expect(await statusesOf(secret)).toEqual([200])
  })
})

describe('a claim, to the user who approved it', () => {
  it('says how far it has come: handed out, never used, until it is used', async () => {
    const user = await makeUser()
    const asker = await askForCodes()
    const statusOf = async () => (await look(user, asker.userCode)).body
    expect(await statusOf()).toMatchObject({ status: 'pending' })
    await answerClaim(user, asker)
    expect(await statusOf()).toMatchObject({ status: 'approved' })
    const secret = await secretOf(asker)
    expect(await statusOf()).toMatchObject({ status: 'handed_out' })
    await useFirst(secret)
    expect(await statusOf()).toMatchObject({ status: 'used' })
  })

  it('is not there for others once it is decided', async () => {
    const { asker } = await approved()
    expectProblem(await look(await makeUser(), asker.userCode), 404, 'not_found')
  })

  it('gives a key that its device may rotate only if they said so', async () => {
    for (const allowed of [true, false]) {
      const { asker } = await approved({ key: { self_rotation: allowed } })
      const token = await secretOf(asker)
      const answer = await call('POST', '/v1/device/rotate', { token })
      expect(answer.status).toBe(allowed ? 200 : 403)
    }
  })
})

describe('deciding a claim under an Idempotency-Key', () => {
  it.each([{ decision: 'approve', name: 'lamp', scopes: ['a'] }, { decision: 'deny' }])(
    'is answered again after $decision, also where the answer was lost',
    async (decision) => {
      const user = await makeUser()
      const { userCode } = await askForCodes()
      const send = async (environment: Env) =>
        await call('POST', `/v1/claims/${userCode}`, {
          token: user.token,
          body: decision,
          headers: { 'Idempotency-Key': 'a-decision' },
          env: environment,
        })
      expect((await send(withLostAnswers())).status).toBe(503)
      const first = await send(env)
      const again = await send(env)
      for (const { status, headers, body } of [first, again]) {
        expect(status).toBe(200)
        expect(headers.get('idempotency-replayed')).toBe('true')
        expect(body).toEqual(first.body)
      }
      // Without the key it is decided, and nobody's to answer.
      expectProblem(await answerClaim(user, { userCode }, decision), 404, 'not_found')
    },
  )
})

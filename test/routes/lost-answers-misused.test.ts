import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { thisIsolate } from '../../src/isolate/state.ts'
import { forgetClaims } from '../../src/services/claims/forget-claims.ts'
import { answerClaim, askForCodes, poll, postForm } from '../support/claims.ts'
import { postClassic } from '../support/classic.ts'
import { call } from '../support/client.ts'
import { withRace } from '../support/databases.ts'
import { endOutage } from '../support/environments.ts'
import { makeDevice, makeUser, markUsed } from '../support/fixtures.ts'
import { contextAt } from '../support/isolates.ts'
import { basic } from '../support/oauth.ts'
import { expectProblem } from '../support/expectations.ts'
import {
  keyPathOf,
  makeOwned,
  rotatedSecret,
  statusesOf,
  UNTIL_USED,
  useFirst,
} from '../support/rotations.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const CODE_LIFETIME_MS = 600_000
const KEY = { 'Idempotency-Key': 'a-key-that-is-used-again' }

beforeEach(endOutage)

describe('an Idempotency-Key that is used again', () => {
  it('on the path of somebody else’s key changes nothing in the isolate', async () => {
    const victim = await makeDevice(await makeUser())
    await markUsed(victim)
    await statusesOf(victim.secret, victim.secret)
    const stranger = await makeUser()
    const own = await makeDevice(stranger)
    const options = { token: stranger.token, headers: KEY }
    expect((await call('POST', `${keyPathOf(own)}/rotate`, options)).status).toBe(200)
    thisIsolate.feed.land(Date.now(), 0, thisIsolate.feed.startRead())
    const path = `/v1/devices/${victim.id}/keys/${victim.keyId}/rotate`
    expectProblem(await call('POST', path, options), 422, 'idempotency_key_reused')
    expect(thisIsolate.keys.get(await sha256(victim.secret))).toBeDefined()
    expect(thisIsolate.feed.readAt).not.toBeNull()
  })

  it('on the classic route answers the same device, and no other body', async () => {
    const user = await makeUser()
    const headers = { Authorization: `JWT ${user.token}`, ...KEY }
    const send = async (name: string) =>
      await postClassic('/user/add-device', { device_name: name }, { headers })
    const first = await send('Boiler')
    const again = await send('Boiler')
    expect(again.body).toEqual(first.body)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    const other = await send('Kettle')
    expect(other.status).toBe(422)
    expect(other.body).toEqual({ message: expect.any(String) })
    const devices = await rowsOf('select id from devices where user_id = ?', user.id)
    expect(devices).toHaveLength(1)
    await call('DELETE', `/v1/devices/${String(devices[0]?.['id'])}`, { token: user.token })
    expect((await send('Boiler')).status).toBe(404)
  })

  it('is told plainly where the secret that sealed the answer is gone', async () => {
    const { token } = await makeUser()
    const options = { token, body: { name: 'Boiler' }, headers: KEY }
    await call('POST', '/v1/devices', options)
    const KEY_CHECK_SECRETS = env.KEY_CHECK_SECRETS.replaceAll(/"id":"[^"]*"/gu, '"id":"zz"')
    const lost = await call('POST', '/v1/devices', {
      ...options,
      env: { ...env, KEY_CHECK_SECRETS },
    })
    expectProblem(lost, 409, 'answer_not_kept')
  })

  it('gives no secret to a session that ended a moment before', async () => {
    const user = await makeUser()
    const options = { token: user.token, body: { name: 'Boiler' }, headers: KEY }
    await call('POST', '/v1/devices', options)
    const raced = withRace(
      async () => await execute('update sessions set revoked_at = 1 where id = ?', user.sessionId),
    )
    const again = await call('POST', '/v1/devices', { ...options, env: raced })
    expect(again.status).toBe(401)
    expect(again.text).not.toContain('lk_')
  })

  it('repeats a decision even where its claim is forgotten', async () => {
    const { token } = await makeUser()
    const { userCode } = await askForCodes()
    const options = { token, body: { decision: 'approve' }, headers: KEY }
    const first = await call('POST', `/v1/claims/${userCode}`, options)
    await forgetClaims(contextAt(Date.now() + CODE_LIFETIME_MS + 3_600_001))
    const again = await call('POST', `/v1/claims/${userCode}`, options)
    expect([again.status, again.body]).toEqual([first.status, first.body])
  })
})

describe('a claim that was taken in the last moments', () => {
  it.each([
    ['of the code', -2000, 3100],
    ['of the minute after it', 3000, 8000],
  ])('%s is told again', async (_when, taken, asked) => {
    const asker = await askForCodes()
    await answerClaim(await makeUser(), asker)
    const end = Date.now() + CODE_LIFETIME_MS
    expect((await poll(asker, end + taken)).ok).toBe(true)
    expect((await poll(asker, end + asked)).ok).toBe(true)
  })
})

describe('a secret that nobody has used', () => {
  it('of the owner’s making is not voided by the device', async () => {
    const owned = await makeOwned({}, { self_rotation: true })
    const { secret } = owned.device
    await useFirst(secret)
    const owners = await rotatedSecret(owned, UNTIL_USED)
    const answer = await call('POST', '/v1/device/rotate', { token: secret })
    expectProblem(answer, 409, 'overlap_running')
    expect(await statusesOf(owners)).toEqual([200])
  })

  it('can be given up with itself, and the old one goes on', async () => {
    const owned = await makeOwned({})
    const { id, secret } = owned.device
    await useFirst(secret)
    const fresh = await rotatedSecret(owned, UNTIL_USED)
    const answer = await postForm('/oauth/revoke', { token: fresh }, { headers: basic(id, fresh) })
    expect(answer.status).toBe(200)
    expect(await statusesOf(secret, fresh)).toEqual([200, 401])
  })

  it('is left alone by a rotation until used, where it is the only one', async () => {
    const owned = await makeOwned({})
    const { id, secret } = owned.device
    await useFirst(secret)
    const second = await rotatedSecret(owned, UNTIL_USED)
    await postForm('/oauth/revoke', { token: secret }, { headers: basic(id, secret) })
    await rotatedSecret(owned, UNTIL_USED)
    expect(await statusesOf(secret, second)).toEqual([401, 200])
  })

  it('ends the old one here too, if the answer to its first use is lost', async () => {
    const owned = await makeOwned({})
    const { secret } = owned.device
    await useFirst(secret)
    const fresh = await rotatedSecret(owned, UNTIL_USED)
    await statusesOf(secret, secret)
    const lossy = tapDatabase(env.DB, async (texts, run) => {
      const result = await run()
      const isFirstUse = texts.some((text) => text.includes('set "first_used_at"'))
      if (isFirstUse) throw new Error('D1_ERROR: Network connection lost.')
      return result
    })
    const used = await call('GET', '/v1/device', { token: fresh, env: { ...env, DB: lossy } })
    expect(used.status).toBe(200)
    await scheduler.wait(50)
    const ended = 'hash = ? and expires_at is not null'
    expect(await countRows('key_secrets', ended, await sha256(secret))).toBe(1)
    endOutage()
    expect(await statusesOf(secret)).toEqual([401])
  })
})

describe('a device that makes its own secrets', () => {
  it('makes none once it is disabled, even where the isolate does not know', async () => {
    const { device } = await makeOwned({}, { self_rotation: true })
    await statusesOf(device.secret, device.secret)
    await execute('update devices set disabled_at = ? where id = ?', Date.now(), device.id)
    const answer = await call('POST', '/v1/device/rotate', { token: device.secret })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(await countRows('key_secrets', 'key_id = ?', device.keyId)).toBe(1)
  })

  it('is told to wait for an hour after ten of them', async () => {
    const { device } = await makeOwned({}, { self_rotation: true })
    const rotate = async () => await call('POST', '/v1/device/rotate', { token: device.secret })
    for (let made = 0; made < 10; made += 1) await rotate()
    const answer = await rotate()
    expect(answer.status).toBe(429)
    expect(answer.headers.get('Retry-After')).toBe('3600')
  })
})

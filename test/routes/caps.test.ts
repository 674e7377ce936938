import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it } from 'vitest'
import { answerClaim, askForCodes, poll } from '../support/claims.ts'
import { type Answer, call, pick } from '../support/client.ts'
import { fakeLimiter } from '../support/environments.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { atOnce, tally } from '../support/limits.ts'
import { auditOf, countRows, execute } from '../support/rows.ts'

const small: Env = { ...env, USER_MAX_DEVICES: '10', DEVICE_MAX_KEYS: '3' }
const DEVICES_CAP = { code: 'cap_reached', cap: { name: 'user_max_devices', max: 10 } }
const KEYS_CAP = { code: 'cap_reached', cap: { name: 'device_max_keys', max: 3 } }

let user: TestUser
let names = 0

beforeEach(async () => {
  user = await makeUser()
})

async function addDevice(by: TestUser = user, headers: Record<string, string> = {}) {
  names += 1
  const body = { name: `device ${names}` }
  return await call('POST', '/v1/devices', { token: by.token, body, env: small, headers })
}

const statusesOf = (answers: readonly Answer[]) => tally(answers.map(({ status }) => `${status}`))
const devicesOf = async ({ id }: TestUser) => await countRows('devices', 'user_id = ?', id)

/** Lowers the cap of one user. */
async function setMaxDevices({ id }: TestUser, max: number | null): Promise<void> {
  await execute('update users set max_devices = ? where id = ?', max, id)
}

describe('the cap on devices', () => {
  it('lets 10 of 50 pass that come at once, and tells the others which cap it is', async () => {
    const answers = await atOnce(50, () => addDevice())
    expect(statusesOf(answers)).toEqual({ 201: 10, 409: 40 })
    expect(await devicesOf(user)).toBe(10)
    expect(answers.find(({ status }) => status === 409)?.body).toMatchObject(DEVICES_CAP)
    // What was refused left nothing: neither a device, nor a key, nor an event.
    expect(await auditOf(user.id)).toHaveLength(10)
  })

  it('has room again when a device is deleted', async () => {
    const answers = await atOnce(10, () => addDevice())
    expect((await addDevice()).status).toBe(409)
    const id = pick(answers[0]?.body, 'device', 'id')
    await call('DELETE', `/v1/devices/${id}`, { token: user.token })
    expect((await addDevice()).status).toBe(201)
    expect((await addDevice()).status).toBe(409)
  })

  it('holds no admin, unless it is set for that admin', async () => {
    const admin = await makeUser('admin')
    expect(statusesOf(await atOnce(12, () => addDevice(admin)))).toEqual({ 201: 12 })
    await setMaxDevices(admin, 12)
    const refused = await addDevice(admin)
    expect(refused.body).toMatchObject({ cap: { name: 'user_max_devices', max: 12 } })
  })

  it('is overridden by the one that is set for the user, up or down', async () => {
    await setMaxDevices(user, 2)
    expect(statusesOf(await atOnce(5, () => addDevice()))).toEqual({ 201: 2, 409: 3 })
    await setMaxDevices(user, 12)
    expect(statusesOf(await atOnce(15, () => addDevice()))).toEqual({ 201: 10, 409: 5 })
    await setMaxDevices(user, 0)
    expect((await addDevice()).status).toBe(409)
  })

  it("does not count what is another user's", async () => {
    await atOnce(10, () => addDevice())
    expect((await addDevice(await makeUser())).status).toBe(201)
  })

  it('answers a repeated request as it was answered, also when it is reached since', async () => {
    const headers = { 'Idempotency-Key': 'a-key-of-the-client' }
    const body = { name: 'once' }
    const ask = async () =>
      await call('POST', '/v1/devices', { token: user.token, body, env: small, headers })
    const first = await ask()
    await atOnce(20, () => addDevice())
    const again = await ask()
    expect(again).toMatchObject({ status: 201, body: { api_key: pick(first.body, 'api_key') } })
  })

  it('holds on the classic surface, in its words', async () => {
    await setMaxDevices(user, 0)
    const options = { token: user.token, body: { device_name: 'classic' }, env: small }
    const refused = await call('POST', '/user/add-device', options)
    expect(refused).toMatchObject({ status: 409 })
    expect(refused.body).toEqual({ message: 'You may have at most 0 devices.' })
  })
})

describe('the cap on the live keys of a device', () => {
  let device: TestDevice

  beforeEach(async () => {
    device = await makeDevice(user)
  })

  const keysUrl = () => `/v1/devices/${device.id}/keys`

  async function addKey(body: object = {}): Promise<Answer> {
    return await call('POST', keysUrl(), { token: user.token, body, env: small })
  }

  async function patchKey(id: string, body: object): Promise<Answer> {
    return await call('PATCH', `${keysUrl()}/${id}`, { token: user.token, body, env: small })
  }

  it('lets as many pass as there is room for, of any number at once', async () => {
    const answers = await atOnce(20, () => addKey())
    expect(statusesOf(answers)).toEqual({ 201: 2, 409: 18 })
    expect(answers.find(({ status }) => status === 409)?.body).toMatchObject(KEYS_CAP)
  })

  it('says not_found, not cap_reached, of a device that is not there', async () => {
    await atOnce(5, () => addKey())
    const stranger = await makeUser()
    const theirs = { token: stranger.token, body: {}, env: small }
    expect((await call('POST', keysUrl(), theirs)).status).toBe(404)
  })

  it('counts neither what is revoked nor what has expired', async () => {
    await atOnce(2, () => addKey())
    expect((await addKey()).status).toBe(409)
    await call('DELETE', `${keysUrl()}/${device.keyId}`, { token: user.token })
    expect((await addKey()).status).toBe(201)
    await execute('update api_keys set expires_at = 1 where id = ?', device.keyId)
    await execute(
      "update api_keys set expires_at = 1 where device_id = ? and name = 'default'",
      device.id,
    )
    expect((await addKey()).status).toBe(201)
  })

  it('is asked again by a change that brings an expired key back', async () => {
    const expired = pick((await addKey({ expires_in: 3600 })).body, 'key', 'id')
    await execute('update api_keys set expires_at = 1 where id = ?', expired)
    expect(statusesOf(await atOnce(5, () => addKey()))).toEqual({ 201: 2, 409: 3 })
    const refused = await patchKey(expired, { expires_at: null })
    expect(refused).toMatchObject({ status: 409, body: KEYS_CAP })
    expect((await patchKey(expired, { name: 'x' })).status).toBe(200)
    // What is live is changed as before.
    expect((await patchKey(device.keyId, { expires_in: 60 })).status).toBe(200)
    await execute('update api_keys set revoked_at = 1 where id = ?', device.keyId)
    expect((await patchKey(expired, { expires_at: null })).status).toBe(200)
  })
})

describe('a claim that would pass a cap', () => {
  it('is not approved, and waits', async () => {
    await setMaxDevices(user, 0)
    const asker = await askForCodes()
    const refused = await answerClaim(user, asker)
    expect(refused).toMatchObject({ status: 409, body: { cap: { name: 'user_max_devices' } } })
    await setMaxDevices(user, null)
    expect((await answerClaim(user, asker)).status).toBe(200)
  })

  it('is not approved for a device that has as many keys as it may have', async () => {
    const device = await makeDevice(user)
    const path = `/v1/devices/${device.id}/keys`
    await atOnce(20, () => call('POST', path, { token: user.token, body: {} }))
    const decision = { decision: 'approve', device_id: device.id }
    const refused = await answerClaim(user, await askForCodes(), decision)
    expect(refused).toMatchObject({ status: 409, body: { cap: { name: 'device_max_keys' } } })
  })

  it('is denied at the poll if the cap was reached after the approval', async () => {
    const asker = await askForCodes()
    await answerClaim(user, asker)
    await setMaxDevices(user, 0)
    expect(await poll(asker)).toEqual({ ok: false, reason: 'access_denied' })
    expect(await devicesOf(user)).toBe(0)
  })
})

describe('the limit on changes', () => {
  it('is 600 a minute for each user, and holds no reading', async () => {
    const limiter = fakeLimiter(2)
    const limited: Env = { ...env, CHANGE_LIMITER: limiter }
    const change = async (by: TestUser) =>
      (await call('PATCH', '/v1/devices/dev_x', { token: by.token, body: {}, env: limited })).status
    expect([await change(user), await change(user), await change(user)]).toEqual([404, 404, 429])
    expect(await change(await makeUser())).toBe(404)
    const read = await call('GET', '/v1/devices', { token: user.token, env: limited })
    expect(read.status).toBe(200)
    expect(new Set(limiter.charged).size).toBe(2)
  })

  it('says when to come back, and counts each address of a user as one', async () => {
    const limited: Env = { ...env, CHANGE_LIMITER: fakeLimiter(0) }
    const refused = await call('POST', '/v1/devices', { token: user.token, body: {}, env: limited })
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate_limited' } })
    expect(refused.headers.get('retry-after')).toBe('60')
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { type Answer, call } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { setClock } from '../support/limits.ts'
import { basic, postForm } from '../support/oauth.ts'
import { makeWarmDevice, present, type WarmDevice } from '../support/warm.ts'

let warm: WarmDevice
let stranger: TestUser
let strangersDevice: TestDevice

beforeEach(async () => {
  // It stands still: nothing is read again because of its age.
  setClock(Date.now())
  stranger = await makeUser()
  strangersDevice = await makeDevice(stranger)
  warm = await makeWarmDevice()
})

afterEach(() => {
  vi.useRealTimers()
})

/** Has the isolate read anew what a change made it forget. */
async function warmUp(): Promise<void> {
  for (const credential of [warm.device.secret, warm.token]) await present(credential)
}

/** The secret and the token are answered so, and D1 is not asked. */
async function expectInMemory(status: number): Promise<void> {
  const { database, statements } = countStatements(env.DB)
  for (const credential of [warm.device.secret, warm.token]) {
    expect((await present(credential, { ...env, DB: database })).status).toBe(status)
  }
  expect(statements).toEqual([])
}

/** Every change of a device and of a key, as a request on its path. */
const DEVICE_DOORS = [
  { attempt: 'disabling a device', method: 'PATCH', suffix: '', body: { enabled: false } },
  { attempt: 'deleting a device', method: 'DELETE', suffix: '', body: undefined },
]
const GENTLE_ROTATION = {
  attempt: 'gently rotating a key',
  method: 'POST',
  suffix: '/rotate',
  body: { overlap_seconds: 3600 },
}
const KEY_DOORS = [
  { attempt: 'disabling a key', method: 'PATCH', suffix: '', body: { enabled: false } },
  { attempt: 'revoking a key', method: 'DELETE', suffix: '', body: undefined },
  { attempt: 'rotating a key', method: 'POST', suffix: '/rotate', body: { overlap_seconds: 0 } },
  GENTLE_ROTATION,
]

type Door = (typeof DEVICE_DOORS)[number] | (typeof KEY_DOORS)[number]

async function knock(
  { method, suffix, body }: Door,
  path: string,
  user: TestUser,
): Promise<Answer> {
  return await call(method, `${path}${suffix}`, { token: user.token, body })
}

describe('a change that changes nothing leaves what the isolate has in memory', () => {
  it.each(DEVICE_DOORS)('$attempt of another user evicts nothing', async (door) => {
    const path = `/v1/devices/${warm.device.id}`
    expect((await knock(door, path, stranger)).status).toBe(404)
    await expectInMemory(200)
  })

  it.each(KEY_DOORS)('$attempt of another user evicts nothing', async (door) => {
    const underTheirOwn = `/v1/devices/${strangersDevice.id}/keys/${warm.device.keyId}`
    for (const path of [warm.keyPath, underTheirOwn]) {
      expect((await knock(door, path, stranger)).status).toBe(404)
    }
    await expectInMemory(200)
  })

  it.each(DEVICE_DOORS)('$attempt that is not there evicts nothing', async (door) => {
    expect((await knock(door, `/v1/devices/${newId('dev')}`, warm.user)).status).toBe(404)
    await expectInMemory(200)
  })

  it.each(KEY_DOORS)('$attempt that is not there evicts nothing', async (door) => {
    const path = `/v1/devices/${warm.device.id}/keys/${newId('key')}`
    expect((await knock(door, path, warm.user)).status).toBe(404)
    await expectInMemory(200)
  })

  it('an empty change of a device or of a key evicts nothing', async () => {
    for (const path of [`/v1/devices/${warm.device.id}`, warm.keyPath]) {
      const answer = await call('PATCH', path, { token: warm.user.token, body: {} })
      expect(answer.status).toBe(200)
    }
    await expectInMemory(200)
  })

  it('a name that is taken evicts nothing', async () => {
    const { user, device } = warm
    const other = await makeDevice(user)
    const change = { token: user.token, body: { name: other.name } }
    expect((await call('PATCH', `/v1/devices/${device.id}`, change)).status).toBe(409)
    await expectInMemory(200)
  })

  it('a rotation that is refused because an overlap runs evicts nothing', async () => {
    expect((await knock(GENTLE_ROTATION, warm.keyPath, warm.user)).status).toBe(200)
    await warmUp()
    expect((await knock(GENTLE_ROTATION, warm.keyPath, warm.user)).status).toBe(409)
    await expectInMemory(200)
  })

  it.each(KEY_DOORS)('$attempt that is revoked already evicts nothing', async (door) => {
    await call('DELETE', warm.keyPath, { token: warm.user.token })
    await warmUp()
    const again = await knock(door, warm.keyPath, warm.user)
    expect(again.status).toBe(door.method === 'DELETE' ? 204 : 409)
    await expectInMemory(401)
  })

  it('deleting an account with a wrong password evicts nothing', async () => {
    const { user } = warm
    const body = { current_password: 'not the password' }
    expect((await call('DELETE', '/v1/me', { token: user.token, body })).status).toBe(403)
    await expectInMemory(200)
  })

  it('revoking another client’s secret or token at /oauth/revoke evicts nothing', async () => {
    const { id, secret } = strangersDevice
    for (const token of [warm.device.secret, warm.token]) {
      expect((await postForm('/oauth/revoke', { token }, basic(id, secret))).status).toBe(200)
    }
    await expectInMemory(200)
  })
})

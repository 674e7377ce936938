import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { askForCodes } from '../support/claims.ts'
import { call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { setClock } from '../support/limits.ts'
import { tapDatabase } from '../support/tapping.ts'

afterEach(() => {
  vi.useRealTimers()
})

const WAIT_MS = 2000

const inUtc = (time: number) => new Date(time).toISOString()

/** A clock that stands still until a request calls D1 for the first time: two seconds pass then. */
async function setUp() {
  const now = Date.now() + 60_000
  setClock(now)
  const user = await makeUser()
  const device = await makeDevice(user)
  const { userCode } = await askForCodes()
  const send = async (method: string, path: string, body?: object) => {
    setClock(now)
    let calls = 0
    const DB = tapDatabase(env.DB, async (_, run) => {
      calls += 1
      if (calls === 1) setClock(now + WAIT_MS)
      return await run()
    })
    const options = { token: user.token, env: { ...env, DB } }
    return await call(method, path, body === undefined ? options : { ...options, body })
  }
  const devicePath = `/v1/devices/${device.id}`
  return { now, send, devicePath, keyPath: `${devicePath}/keys/${device.keyId}`, userCode }
}

describe('the time of a request is one, however long D1 takes to say who is calling', () => {
  it('an expiry between the two is still in the future', async () => {
    const { now, send, devicePath, keyPath, userCode } = await setUp()
    const policy = { expires_at: inUtc(now + 1) }
    const made = await send('POST', '/v1/devices', { name: 'x', key: policy })
    expect([made.status, made.body]).toMatchObject([201, { key: policy }])
    expect((await send('POST', `${devicePath}/keys`, policy)).status).toBe(201)
    expect((await send('PATCH', keyPath, policy)).status).toBe(200)
    const answer = { decision: 'approve', key: policy }
    expect((await send('POST', `/v1/claims/${userCode}`, answer)).status).toBe(200)
  })

  it('an expiry that is this very time is not in the future', async () => {
    const { now, send, devicePath, keyPath, userCode } = await setUp()
    const policy = { expires_at: inUtc(now) }
    const made = await send('POST', '/v1/devices', { name: 'x', key: policy })
    expectProblem(made, 400, 'invalid_request', ['/key/expires_at'])
    const added = await send('POST', `${devicePath}/keys`, policy)
    expectProblem(added, 400, 'invalid_request', ['/expires_at'])
    expect(added.body).toMatchObject({ errors: [{ detail: 'must be in the future' }] })
    const changed = await send('PATCH', keyPath, policy)
    expectProblem(changed, 400, 'invalid_request', ['/expires_at'])
    const answer = { decision: 'approve', key: policy }
    const approved = await send('POST', `/v1/claims/${userCode}`, answer)
    expectProblem(approved, 400, 'invalid_request', ['/key/expires_at'])
  })

  it('a usage query without an end ends with it', async () => {
    const { now, send, devicePath } = await setUp()
    const usageFrom = async (time: number) =>
      await send('GET', `${devicePath}/usage?from=${inUtc(time)}`)
    expect((await usageFrom(now)).status).toBe(200)
    const later = await usageFrom(now + 1)
    expectProblem(later, 400, 'invalid_request', ['/from'])
    expect(later.body).toMatchObject({ errors: [{ detail: 'must be before to' }] })
  })
})

import { beforeEach, describe, expect, it } from 'vitest'
import { type Answer, call, pick } from '../support/client.ts'
import { makeUser, type TestDevice, type TestUser, markUsed } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { makeIsolate } from '../support/isolates.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import { auditOf, dumpDatabase } from '../support/rows.ts'
import { forgedFrom, unissuedSecret } from '../support/tokens.ts'

const REVOKE = '/oauth/revoke'
const ONE_AN_HOUR = { rate_limit: { limit: 1, window_seconds: 3600 } }

let user: TestUser
let device: TestDevice

async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  device = await makeLimitedDevice(user, limits)
  await markUsed(device)
}

async function revoke(token: string, by: TestDevice): Promise<Answer> {
  return await postForm(REVOKE, { token }, basic(by.id, by.secret))
}

/** RFC 7009 §2.2: 200, and the client ignores the body. */
function expectDone(answer: Answer): void {
  expect({ status: answer.status, text: answer.text }).toEqual({ status: 200, text: '{}' })
  expect(answer.headers.get('cache-control')).toBe('no-store')
}

async function codeOf(presented: string): Promise<string> {
  return await makeIsolate(Date.now()).codeOf(presented)
}

async function rotate(overlap_seconds: number): Promise<TestDevice> {
  const path = `/v1/devices/${device.id}/keys/${device.keyId}/rotate`
  const { body } = await call('POST', path, { token: user.token, body: { overlap_seconds } })
  return { ...device, secret: pick(body, 'api_key') }
}

async function keyOf({ id, keyId }: TestDevice): Promise<unknown> {
  return (await call('GET', `/v1/devices/${id}/keys/${keyId}`, { token: user.token })).body
}

describe.each(KEY_KINDS)('RFC 7009 §2.1: a client with %s ends what is its own', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it('its secret, whose tokens end with it', async () => {
    const token = await fetchToken(device)
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
    expectDone(await revoke(device.secret, device))
    // At once in the isolate that did it, and everywhere by the bound.
    for (const presented of [device.secret, token]) {
      const answer = await call('GET', '/v1/device', { token: presented })
      expect(answer).toMatchObject({ status: 401, body: { code: 'revoked' } })
      expect(await codeOf(presented)).toBe('revoked')
    }
    // The key lives on: its owner may give it another secret.
    expect(await keyOf(device)).toMatchObject({ revoked_at: null, secrets: [] })
    expect(await codeOf((await rotate(0)).secret)).toBe('valid')
    // The client has no credential any more.
    expectOAuthError(await revoke(device.secret, device), 401, 'invalid_client')
  })

  it('its token, and neither the token’s siblings nor its secret', async () => {
    const token = await fetchToken(device)
    const sibling = await fetchToken(device)
    for (const presented of [token, sibling]) {
      expect((await call('GET', '/v1/device', { token: presented })).status).toBe(200)
    }
    expectDone(await revoke(token, device))
    // At once in the isolate that did it, and everywhere by the bound.
    const answer = await call('GET', '/v1/device', { token })
    expect(answer).toMatchObject({ status: 401, body: { code: 'revoked' } })
    expect(await codeOf(token)).toBe('revoked')
    for (const presented of [sibling, device.secret, await fetchToken(device)]) {
      expect((await call('GET', '/v1/device', { token: presented })).status).toBe(200)
      expect(await codeOf(presented)).toBe('valid')
    }
  })

  it('with client_secret_post, and whatever token_type_hint says', async () => {
    const form = { token: device.secret, token_type_hint: 'nonsense' }
    expectDone(
      await postForm(REVOKE, { ...form, client_id: device.id, client_secret: device.secret }),
    )
    expect(await codeOf(device.secret)).toBe('revoked')
  })

  it('while another secret lives, as in an overlap, the key lives on', async () => {
    const oldToken = await fetchToken(device)
    const next = await rotate(3600)
    const nextToken = await fetchToken(next)
    expectDone(await revoke(device.secret, next))
    expect(await codeOf(device.secret)).toBe('revoked')
    expect(await codeOf(oldToken)).toBe('revoked')
    expect(await codeOf(next.secret)).toBe('valid')
    expect(await codeOf(nextToken)).toBe('valid')
    expect(await keyOf(device)).toMatchObject({ revoked_at: null })
  })

  it('the new secret of an overlap leaves the old one alive until the overlap ends', async () => {
    const next = await rotate(3600)
    expectDone(await revoke(next.secret, device))
    expect(await codeOf(next.secret)).toBe('revoked')
    expect(await codeOf(device.secret)).toBe('valid')
  })

  it('another key of the same device, which stays otherwise as it is', async () => {
    const { body } = await call('POST', `/v1/devices/${device.id}/keys`, {
      token: user.token,
      body: limits,
    })
    const second = pick(body, 'api_key')
    expectDone(await revoke(second, device))
    expect(await codeOf(second)).toBe('revoked')
    expect(await codeOf(device.secret)).toBe('valid')
  })

  it('a device that is over its limit can still revoke its secret', async () => {
    const limited = await makeLimitedDevice(user, ONE_AN_HOUR)
    const statusOf = async () => (await call('GET', '/v1/device', { token: limited.secret })).status
    expect([await statusOf(), await statusOf()]).toEqual([200, 429])
    expectDone(await revoke(limited.secret, limited))
    expect(await statusOf()).toBe(401)
  })

  it('revoking is charged neither to the client nor to whose secret it names', async () => {
    const limited = await makeLimitedDevice(user, ONE_AN_HOUR)
    const other = await makeLimitedDevice(user, ONE_AN_HOUR)
    for (const by of [limited, device]) expectDone(await revoke(other.secret, by))
    for (const { secret } of [limited, other]) {
      expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
    }
  })

  it('and it is on record who did it, once, without the secret', async () => {
    const next = await rotate(3600)
    const ended = async () =>
      (await auditOf(user.id)).filter(
        ({ deviceId, action }) => deviceId === device.id && /ended|revoked/.test(action),
      )
    expectDone(await revoke(device.secret, next))
    expectDone(await revoke(device.secret, next))
    expect(await ended()).toMatchObject([{ action: 'key.secret_ended', actorId: device.id }])
    const token = await fetchToken(next)
    expectDone(await revoke(token, next))
    expectDone(await revoke(token, next))
    expectDone(await revoke(next.secret, next))
    const events = await ended()
    expect(events.map(({ action }) => action)).toEqual([
      'key.secret_ended',
      'key.token_ended',
      'key.secret_ended',
    ])
    for (const secret of [next.secret, token]) expect(JSON.stringify(events)).not.toContain(secret)
  })

  it('one of many at once ends it, and all say 200', async () => {
    const next = await rotate(3600)
    const answers = await Promise.all(
      Array.from({ length: 10 }, async () => await revoke(device.secret, next)),
    )
    for (const answer of answers) expectDone(answer)
    const ended = (await auditOf(user.id)).filter(({ deviceId }) => deviceId === device.id)
    expect(ended.filter(({ action }) => action === 'key.secret_ended')).toHaveLength(1)
  })
})

describe.each(KEY_KINDS)('RFC 7009 §2.2: a client with %s ends nothing else', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it("for a token of another client's, of the same owner or not, is told 200", async () => {
    const others = await Promise.all(
      [user, await makeUser()].map(async (owner) => await makeLimitedDevice(owner, limits)),
    )
    const presented: string[] = []
    for (const other of others) presented.push(other.secret, await fetchToken(other))
    const before = await dumpDatabase()
    for (const token of presented) expectDone(await revoke(token, device))
    expect(await dumpDatabase()).toBe(before)
    for (const token of presented) expect(await codeOf(token)).toBe('valid')
  })

  it('for what is unknown, forged, or no token of a device, is told 200', async () => {
    const presented = [
      'x',
      '☃'.repeat(9),
      forgedFrom(device.secret),
      await unissuedSecret(),
      user.token,
    ]
    const before = await dumpDatabase()
    for (const token of presented) expectDone(await revoke(token, device))
    expect(await dumpDatabase()).toBe(before)
    expect((await call('GET', '/v1/me', { token: user.token })).status).toBe(200)
  })
})

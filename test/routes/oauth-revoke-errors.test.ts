import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { fakeLimiter } from '../support/environments.ts'
import { makeUser, markUsed, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import { dumpDatabase } from '../support/rows.ts'
import { forgedFrom } from '../support/tokens.ts'

const REVOKE = '/oauth/revoke'

let user: TestUser
let device: TestDevice

async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  device = await makeLimitedDevice(user, limits)
  await markUsed(device)
}

describe('RFC 7009 §2.2.1: a client that revokes unknown strings', () => {
  it('is limited, where unknown strings are looked up', async () => {
    await setUp({})
    const limiter = fakeLimiter(3)
    const settings = { ACCEPT_IMPORTED_KEYS: 'true', UNKNOWN_SECRET_LIMITER: limiter }
    const statuses: number[] = []
    for (let turn = 0; turn < 6; turn += 1) {
      const headers = { ...basic(device.id, device.secret), 'CF-Connecting-IP': '192.0.2.9' }
      const form = { token: `an-unknown-string-${turn}` }
      statuses.push((await postForm(REVOKE, form, headers, { ...env, ...settings })).status)
    }
    expect(statuses).toEqual([200, 200, 200, 200, 429, 429])
  })
})

describe('a device that revokes token after token', () => {
  it('is limited by itself, and can still end its secret', async () => {
    await setUp({})
    const limiter = fakeLimiter(2)
    const limited: Env = { ...env, TOKEN_REVOCATION_LIMITER: limiter }
    const revoke = async (token: string) =>
      await postForm(REVOKE, { token }, basic(device.id, device.secret), limited)
    const tokens = []
    for (let turn = 0; turn < 3; turn += 1) tokens.push(await fetchToken(device))
    const [first = '', second = '', third = ''] = tokens
    for (const token of [first, second]) expect((await revoke(token)).status).toBe(200)
    const before = await dumpDatabase()
    const refused = await revoke(third)
    expectOAuthError(refused, 429, 'temporarily_unavailable')
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(await dumpDatabase()).toBe(before)
    // What is nobody's token, or has ended already, is not charged.
    for (const token of [first, 'made-up']) expect((await revoke(token)).status).toBe(200)
    expect(limiter.charged).toEqual([device.id, device.id, device.id])
    expect((await revoke(device.secret)).status).toBe(200)
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(401)
  })
})

describe.each(KEY_KINDS)('RFC 7009 §2.2.1: errors of a client with %s', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it('invalid_client: §2.1, the client is authenticated first', async () => {
    const other = await makeLimitedDevice(user, limits)
    await markUsed(other)
    const before = await dumpDatabase()
    for (const headers of [
      {},
      basic(device.id, forgedFrom(device.secret)),
      basic(device.id, other.secret),
      basic(device.id, await fetchToken(device)),
      { Authorization: `Bearer ${device.secret}` },
      { 'X-API-Key': device.secret },
    ]) {
      const answer = await postForm(REVOKE, { token: device.secret }, headers)
      expectOAuthError(answer, 401, 'invalid_client')
    }
    expect(await dumpDatabase()).toBe(before)
  })

  it('invalid_request: token is required, once and in a form', async () => {
    const header = basic(device.id, device.secret)
    const { secret } = device
    const before = await dumpDatabase()
    for (const answer of [
      await postForm(REVOKE, {}, header),
      await postForm(REVOKE, { token: '' }, header),
      await postForm(
        REVOKE,
        [1, 2].map(() => ['token', secret] as const),
        header,
      ),
      await postForm(`${REVOKE}?token=${secret}`, {}, header),
      await call('POST', REVOKE, { body: { token: secret }, headers: header }),
    ]) {
      expectOAuthError(answer, 400, 'invalid_request')
      expect(answer.text).not.toContain(secret)
    }
    expect(await dumpDatabase()).toBe(before)
  })
})

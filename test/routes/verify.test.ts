import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { makeSecret } from '../../src/crypto/secrets.ts'
import { loadSettings } from '../../src/settings.ts'
import { call, type CallOptions, pick } from '../support/client.ts'
import { endOutage, withFailingDatabase } from '../support/environments.ts'
import { TIME } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { execute } from '../support/rows.ts'

type Stage = {
  readonly scopes?: readonly string[]
  readonly role?: 'user' | 'admin'
  /** The verifier's own limits, where they are not those of the device. */
  readonly own?: WireLimits
}

/** A user with a verifier and with a device to be verified, both of which have these limits. */
async function setUp(limits: WireLimits, stage: Stage = {}) {
  const { scopes = ['keys:verify'], role = 'user', own = limits } = stage
  const user = await makeUser(role)
  const verifier = await makeLimitedDevice(user, { ...own, scopes })
  const device = await makeLimitedDevice(user, { ...limits, scopes: ['telemetry:*'] })
  const verify = async (body: unknown, options: CallOptions = {}) =>
    await call('POST', '/v1/keys/verify', { token: verifier.secret, body, ...options })
  return { user, verifier, device, verify }
}

/** What a decision says of the limits. */
function standingAfter({ rate_limit }: WireLimits, cost: number) {
  if (!rate_limit) return {}
  const { limit } = rate_limit
  return { rate_limit: { limit, remaining: limit - cost, reset_at: TIME } }
}

describe.each(KEY_KINDS)('POST /v1/keys/verify by and about %s', (_, limits) => {
  it('tells whose a good key is', async () => {
    const { user, device, verify } = await setUp(limits)
    const answer = await verify({ api_key: device.secret, scopes: ['telemetry:write'] })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual({
      valid: true,
      code: 'valid',
      device: { id: device.id, name: device.name },
      owner: { id: user.id },
      key: { id: device.keyId, name: 'default', scopes: ['telemetry:*'], expires_at: null },
      ...standingAfter(limits, 1),
    })
  })

  const DENIALS: readonly (readonly [string, string, number])[] = [
    ['revoked', 'update api_keys set revoked_at = 1 where id = ?', 401],
    ['expired', 'update api_keys set expires_at = 1 where id = ?', 401],
    ['disabled', 'update api_keys set disabled_at = 1 where id = ?', 401],
    ['insufficient_scope', 'update api_keys set scopes = \'["other"]\' where id = ?', 403],
  ]

  it.each(DENIALS)('says %s as every door does', async (code, change, status) => {
    const { user, device, verify } = await setUp(limits)
    await execute(change, device.keyId)
    const asked = { api_key: device.secret, scopes: ['telemetry:write'] }
    // The rows changed past the application, so the caches do not know.
    const answer = await verify({ ...asked, fresh: true })
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({
      valid: false,
      code,
      owner: { id: user.id },
      device: { id: device.id },
      key: { id: device.keyId },
    })
    if (code === 'insufficient_scope') return
    const door = await call('GET', '/v1/device', { token: device.secret })
    expect(door).toMatchObject({ status, body: { code: code.replace('_', '-') } })
  })

  it('says revoked for a deleted device, to its owner only', async () => {
    const { user, device, verify } = await setUp(limits)
    await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
    const answer = await verify({ api_key: device.secret })
    expect(answer.body).toEqual({ valid: false, code: 'revoked', owner: { id: user.id } })
    const other = await setUp(limits)
    const foreign = await other.verify({ api_key: device.secret })
    expect(foreign.body).toEqual({ valid: false, code: 'not_found' })
  })

  it("cannot tell another owner's key from a made-up one", async () => {
    // The verifier's own standing is in the headers, and another one after each call.
    const { verify } = await setUp(limits, { own: {} })
    const { device } = await setUp(limits)
    const { keyPrefix, checkSecrets } = loadSettings(env)
    const made = await makeSecret(keyPrefix, checkSecrets)
    const requestId = { 'X-Request-Id': 'the-same-for-all' }
    const answers = []
    for (const presented of [device.secret, made.secret, `${made.secret}x`, 'x', '☃'.repeat(99)]) {
      const answer = await verify({ api_key: presented }, { headers: requestId })
      answers.push([answer.status, answer.text, JSON.stringify([...answer.headers])])
    }
    expect(answers[0]?.slice(0, 2)).toEqual([200, '{"valid":false,"code":"not_found"}'])
    for (const answer of answers) expect(answer).toEqual(answers[0])
  })

  it('reaches everyone with keys:verify-all, while the owner is an admin', async () => {
    const { device } = await setUp(limits)
    const { verify } = await setUp(limits, { scopes: ['keys:verify-all'], role: 'admin' })
    const asked = { api_key: device.secret, owner: 'any' }
    expect((await verify(asked)).body).toMatchObject({ valid: true })
    const former = await setUp(limits, { scopes: ['keys:verify-all'], role: 'admin' })
    await execute(`update users set role = 'user' where id = ?`, former.user.id)
    expect(await former.verify({ api_key: device.secret })).toMatchObject({
      status: 403,
      body: { code: 'insufficient_scope' },
    })
  })

  it('is refused to a key without the scope, which WWW-Authenticate names', async () => {
    for (const scopes of [[], ['*'], ['keys'], ['telemetry:*']]) {
      const { device, verify } = await setUp(limits, { scopes })
      const answer = await verify({ api_key: device.secret })
      expect(answer).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
      expect(answer.headers.get('www-authenticate')).toBe(
        'Bearer realm="latchkey", error="insufficient_scope", scope="keys:verify"',
      )
    }
  })

  it.each([
    [{}, '/api_key'],
    [{ api_key: 5 }, '/api_key'],
    [{ api_key: '' }, '/api_key'],
    [{ api_key: 'x'.repeat(16_385) }, '/api_key'],
    [{ api_key: 'x', scopes: ['a:*'] }, '/scopes/0'],
    [{ api_key: 'x', scopes: 'a' }, '/scopes'],
    [{ api_key: 'x', fresh: 'yes' }, '/fresh'],
    [{ api_key: 'x', more: 1 }, '/more'],
  ])('refuses %j', async (body, pointer) => {
    const { verify } = await setUp(limits)
    const answer = await verify(body)
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer }] } })
  })

  it('is 503 when nothing can be decided', async () => {
    const { device, verify } = await setUp(limits)
    await verify({ api_key: device.secret })
    // The verifier's own key is in the cache; a fresh answer would have to be D1's.
    const answer = await verify(
      { api_key: device.secret, fresh: true },
      { env: withFailingDatabase() },
    )
    expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } })
    expect(pick(answer.body, 'title')).not.toContain('D1')
    endOutage()
  })
})

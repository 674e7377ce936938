import { describe, expect, it, vi } from 'vitest'
import { call, pick } from '../support/client.ts'
import { countStatuses, expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { countRows, dumpDatabase, execute, rowsOf } from '../support/rows.ts'

async function setUp(limits: WireLimits) {
  const user = await makeUser()
  const device = await makeLimitedDevice(user, limits)
  const path = `/v1/devices/${device.id}/keys/${device.keyId}`
  const rotate = async (overlapSeconds?: number) =>
    await call('POST', `${path}/rotate`, {
      token: user.token,
      body: overlapSeconds === undefined ? {} : { overlap_seconds: overlapSeconds },
    })
  const isolate = makeIsolate(Date.now())
  const codeOf = async (secret: string, now: number) => {
    isolate.now = now
    return await isolate.codeOf(secret, { fresh: true })
  }
  return { user, device, path, rotate, codeOf }
}

const liveSecretsOf = async (keyId: string) =>
  await countRows(
    'key_secrets',
    'key_id = ? and revoked_at is null and (expires_at is null or expires_at > ?)',
    keyId,
    Date.now(),
  )

/** When the secrets of a key end that have an end. */
const endsOf = async (keyId: string) =>
  (
    await rowsOf(
      'select expires_at from key_secrets where key_id = ? and expires_at is not null',
      keyId,
    )
  ).map((row) => Number(row['expires_at']))

describe.each(KEY_KINDS)('the rotation of %s', (_, limits) => {
  it('keeps the key, and ends the old secret at once without an overlap', async () => {
    const { device, path, rotate, user } = await setUp(limits)
    await call('PATCH', path, { token: user.token, body: { name: 'kept', scopes: ['a:b'] } })
    const rotated = await rotate()
    expect(rotated.status).toBe(200)
    const secret = pick(rotated.body, 'api_key')
    expect(rotated.body).toMatchObject({
      key: { id: device.keyId, name: 'kept', scopes: ['a:b'], secrets: [{ expires_at: null }] },
    })
    expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
    const old = await call('GET', '/v1/device', { token: device.secret })
    expect(old).toMatchObject({ status: 401, body: { code: 'revoked' } })
  })

  it('lets both secrets live for the overlap and not a millisecond longer', async () => {
    const { device, rotate, codeOf, path, user } = await setUp(limits)
    const rotated = await rotate(60)
    const secret = pick(rotated.body, 'api_key')
    const read = await call('GET', path, { token: user.token })
    expect(read.body).toMatchObject({
      secrets: [
        { hint: `${secret.slice(0, 9)}…`, expires_at: null },
        { expires_at: expect.any(String) },
      ],
    })
    const [end = 0] = await endsOf(device.keyId)
    expect(await codeOf(device.secret, end - 1)).toBe('valid')
    expect(await codeOf(device.secret, end)).toBe('expired')
    expect(await codeOf(secret, end)).toBe('valid')
  })

  it('is refused while an overlap runs, unless the new overlap is 0, which ends both', async () => {
    const { device, rotate } = await setUp(limits)
    const second = pick((await rotate(60)).body, 'api_key')
    expect(await rotate(60)).toMatchObject({ status: 409, body: { code: 'overlap_running' } })
    const third = pick((await rotate(0)).body, 'api_key')
    for (const secret of [device.secret, second]) {
      const answer = await call('GET', '/v1/device', { token: secret })
      expect(answer).toMatchObject({ status: 401, body: { code: 'revoked' } })
    }
    expect((await call('GET', '/v1/device', { token: third })).status).toBe(200)
    expect(await liveSecretsOf(device.keyId)).toBe(1)
  })

  it("never extends a secret's own end, nor the key's", async () => {
    const { device, rotate, user, path } = await setUp(limits)
    const soon = new Date(Date.now() + 20_000).toISOString()
    await call('PATCH', path, { token: user.token, body: { expires_at: soon } })
    await rotate(3600)
    const ends = await endsOf(device.keyId)
    expect(ends).toEqual([Date.parse(soon)])
    // The key gets more time later: the old secret's end stays where it was.
    await call('PATCH', path, { token: user.token, body: { expires_at: null } })
    const later = await endsOf(device.keyId)
    expect(later).toEqual(ends)
  })

  it('keeps an own end that comes before the end of the overlap', async () => {
    const { device, rotate } = await setUp(limits)
    const own = Date.now() + 20_000
    await execute('update key_secrets set expires_at = ? where key_id = ?', own, device.keyId)
    expect((await rotate(3600)).status).toBe(200)
    expect(await endsOf(device.keyId)).toEqual([own])
  })

  it.each([
    [{ overlap_seconds: -1 }],
    [{ overlap_seconds: 2_592_001 }],
    [{ overlap_seconds: 1.5 }],
    [{ overlap_seconds: '60' }],
    [{ overlap: 60 }],
  ])('is refused with %j', async (body) => {
    const { path, user, device } = await setUp(limits)
    const answer = await call('POST', `${path}/rotate`, { token: user.token, body })
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
  })
})

describe.each(KEY_KINDS)('100 rotations at once of %s', (_, limits) => {
  it.each([0, 60])('leave at most two live secrets, with an overlap of %i s', async (overlap) => {
    const { device, rotate, codeOf } = await setUp(limits)
    const answers = await Promise.all(Array.from({ length: 100 }, () => rotate(overlap)))
    const made = answers.filter((answer) => answer.status === 200)
    // Ten an hour, whichever they are.
    const expected = overlap === 0 ? { 200: 10, 429: 90 } : { 200: 1, 409: 99 }
    expect(countStatuses(answers)).toEqual(expected)
    expect(await liveSecretsOf(device.keyId)).toBe(overlap === 0 ? 1 : 2)
    const codes = await Promise.all(
      made.map((answer) => codeOf(pick(answer.body, 'api_key'), Date.now())),
    )
    expect(codes.filter((code) => code === 'valid')).toHaveLength(1)
    expect(codes.filter((code) => code !== 'valid' && code !== 'revoked')).toHaveLength(0)
    const audited = await countRows(
      'audit_events',
      "key_id = ? and action = 'key.rotated'",
      device.keyId,
    )
    expect(audited).toBe(made.length)
  })
})

describe('rotations in an hour', () => {
  it('are ten of a key by its owner, its first secret and its device’s own aside', async () => {
    const { user, device, path, rotate } = await setUp({})
    await call('PATCH', path, { token: user.token, body: { self_rotation: true } })
    const own = await call('POST', '/v1/device/rotate', { token: device.secret, body: {} })
    expect(own.status).toBe(200)
    for (let rotation = 0; rotation < 10; rotation += 1) {
      expect((await rotate(0)).status).toBe(200)
    }
    const before = await dumpDatabase()
    const refused = await rotate(0)
    expectProblem(refused, 429, 'rate_limited')
    expect(refused.headers.get('retry-after')).toBe('3600')
    expect(await dumpDatabase()).toBe(before)
    await execute(
      'update key_secrets set created_at = created_at - 3600000 where key_id = ?',
      device.keyId,
    )
    expect((await rotate(0)).status).toBe(200)
  })
})

/** What is on record of the use of a key's retired secrets. */
const eventsOf = async (keyId: string) =>
  await rowsOf(
    "select actor_type, actor_id, ip, after from audit_events where key_id = ? and action = 'key.retired_secret_used'",
    keyId,
  )

describe.each(KEY_KINDS)('the use of a retired secret of %s', (_, limits) => {
  it('is on record once a secret, and leaves the live secret alone', async () => {
    const { device, rotate, codeOf } = await setUp(limits)
    const secret = pick((await rotate(60)).body, 'api_key')
    const later = Date.now() + 61_000
    await Promise.all(Array.from({ length: 10 }, () => codeOf(device.secret, later)))
    await vi.waitFor(async () => expect(await eventsOf(device.keyId)).toHaveLength(1))
    expect(await codeOf(device.secret, later)).toBe('expired')
    expect(await codeOf(secret, later)).toBe('valid')
    expect(await eventsOf(device.keyId)).toEqual([
      {
        actor_type: 'device',
        actor_id: device.id,
        ip: null,
        after: JSON.stringify({ hint: `${device.secret.slice(0, 9)}…` }),
      },
    ])
  })

  it('is on record too after a rotation without overlap, with the address', async () => {
    const { device, rotate } = await setUp(limits)
    await rotate()
    const headers = { 'CF-Connecting-IP': '203.0.113.9' }
    expect((await call('GET', '/v1/device', { token: device.secret, headers })).status).toBe(401)
    await vi.waitFor(async () =>
      expect(await eventsOf(device.keyId)).toMatchObject([{ ip: '203.0.113.9' }]),
    )
  })

  it('is not on record where the whole key has expired', async () => {
    const { device, rotate, codeOf } = await setUp(limits)
    const secret = pick((await rotate(60)).body, 'api_key')
    const end = Date.now() + 120_000
    await execute('update api_keys set expires_at = ? where id = ?', end, device.keyId)
    for (const presented of [device.secret, secret]) {
      expect(await codeOf(presented, end)).toBe('expired')
    }
    await scheduler.wait(20)
    expect(await eventsOf(device.keyId)).toEqual([])
  })

  it('is none of a revoked or deleted key', async () => {
    const { device, path, user } = await setUp(limits)
    await call('DELETE', path, { token: user.token })
    await call('GET', '/v1/device', { token: device.secret })
    await scheduler.wait(20)
    expect(await eventsOf(device.keyId)).toEqual([])
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { call, pick } from '../support/client.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { setClock } from '../support/limits.ts'
import { execute } from '../support/rows.ts'
import { freshToken } from '../support/usage.ts'

const YEAR_MS = 365 * 86_400_000

afterEach(() => {
  vi.useRealTimers()
})

async function setUp() {
  const user = await makeUser()
  const device = await makeDevice(user)
  return { user, device, token: user.token, keys: `/v1/devices/${device.id}/keys` }
}

describe('keys of a device', () => {
  it('are made with a policy, and the secret is shown once', async () => {
    const { keys, token, device } = await setUp()
    const body = { name: 'writer', scopes: ['telemetry:write', 'telemetry:*'], expires_in: 3600 }
    const made = await call('POST', keys, { token, body })
    expect(made.status).toBe(201)
    expect(made.headers.get('cache-control')).toBe('no-store')
    const secret = pick(made.body, 'api_key')
    const id = pick(made.body, 'key', 'id')
    expect(made.headers.get('location')).toBe(`https://latchkey.example${keys}/${id}`)
    expect(made.body).toMatchObject({
      key: {
        device_id: device.id,
        name: 'writer',
        scopes: body.scopes,
        status: 'active',
        enabled: true,
        revoked_at: null,
        secrets: [{ hint: `${secret.slice(0, 9)}…`, expires_at: null }],
      },
    })

    const read = await call('GET', `${keys}/${id}`, { token })
    expect(read.status).toBe(200)
    expect(read.text).not.toContain(secret)
    const who = await call('GET', '/v1/device', { token: secret })
    expect(who.body).toMatchObject({ key: { id, scopes: body.scopes } })
  })

  it.each([
    [{ scopes: ['telemetry:'] }, '/scopes/0'],
    [{ scopes: ['*:write'] }, '/scopes/0'],
    [{ scopes: ['tele*'] }, '/scopes/0'],
    [{ scopes: ['keys:*'] }, '/scopes/0'],
    [{ scopes: ['keys:other'] }, '/scopes/0'],
    [{ scopes: [''] }, '/scopes/0'],
    [{ scopes: ['a'.repeat(129)] }, '/scopes/0'],
    [{ scopes: Array.from({ length: 65 }, (_, n) => `s${n}`) }, '/scopes'],
    [{ scopes: 'telemetry:write' }, '/scopes'],
    [{ expires_in: 0 }, '/expires_in'],
    [{ expires_in: 315_360_001 }, '/expires_in'],
    [{ expires_in: 1.5 }, '/expires_in'],
    [{ expires_at: 'tomorrow' }, '/expires_at'],
    [{ expires_at: '2020-01-01T00:00:00Z' }, '/expires_at'],
    [{ expires_at: '1970-01-01T00:00:00Z' }, '/expires_at'],
    [{ expires_at: '0000-01-01T00:00:00+01:00' }, '/expires_at'],
    [{ expires_at: '2100-01-01T00:00:00Z', expires_in: 5 }, '/expires_in'],
    [{ name: 'a\u202Eb' }, '/name'],
    [{ rate_limits: {} }, '/rate_limits'],
    [{ enabled: false }, '/enabled'],
  ])('are refused with %j', async (body, pointer) => {
    const { keys, token } = await setUp()
    const refused = await call('POST', keys, { token, body })
    expect(refused.status).toBe(400)
    expect(refused.body).toMatchObject({ code: 'invalid_request', errors: [{ pointer }] })
    const list = await call('GET', keys, { token })
    expect(list.body).toMatchObject({ items: [{ name: 'default' }], next_cursor: null })
  })

  it('change their policy without touching the secret', async () => {
    const { keys, token, device } = await setUp()
    const path = `${keys}/${device.keyId}`
    const expiresAt = new Date(Date.now() + YEAR_MS).toISOString()
    const changed = await call('PATCH', path, {
      token,
      body: { name: 'renamed', scopes: ['a:*', 'a:*'], expires_at: expiresAt },
    })
    expect(changed.status).toBe(200)
    expect(changed.body).toMatchObject({ name: 'renamed', scopes: ['a:*'], expires_at: expiresAt })
    const who = await call('GET', '/v1/device', { token: device.secret })
    expect(who.body).toMatchObject({ key: { name: 'renamed', scopes: ['a:*'] } })

    const cleared = await call('PATCH', path, { token, body: { expires_at: null } })
    expect(cleared.body).toMatchObject({ name: 'renamed', expires_at: null })

    await call('PATCH', path, { token, body: { enabled: false } })
    expect(await call('GET', '/v1/device', { token: device.secret })).toMatchObject({
      status: 401,
      body: { code: 'disabled' },
    })
    await call('PATCH', path, { token, body: { enabled: true } })
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
  })

  it('are revoked for good, once and again', async () => {
    const { keys, token, device } = await setUp()
    const path = `${keys}/${device.keyId}`
    expect((await call('DELETE', path, { token })).status).toBe(204)
    expect((await call('DELETE', path, { token })).status).toBe(204)
    expect(await call('GET', '/v1/device', { token: device.secret })).toMatchObject({
      status: 401,
      body: { code: 'revoked' },
    })
    for (const answer of [
      await call('PATCH', path, { token, body: { enabled: true } }),
      await call('POST', `${path}/rotate`, { token, body: {} }),
    ]) {
      expect(answer).toMatchObject({ status: 409, body: { code: 'key_revoked' } })
    }
    const { results } = await env.DB.prepare(
      "select id from audit_events where key_id = ? and action = 'key.revoked'",
    )
      .bind(device.keyId)
      .all()
    expect(results).toHaveLength(1)
  })

  it('are listed by status, with their history, page by page', async () => {
    const { keys, token, device } = await setUp()
    const make = async (name: string) =>
      pick((await call('POST', keys, { token, body: { name } })).body, 'key', 'id')
    const disabled = await make('disabled')
    const expired = await make('expired')
    const revoked = await make('revoked')
    await call('PATCH', `${keys}/${disabled}`, { token, body: { enabled: false } })
    await call('DELETE', `${keys}/${revoked}`, { token })
    await env.DB.prepare('update api_keys set expires_at = 1 where id = ?').bind(expired).run()

    const idsOf = async (query: string) => {
      const { body } = await call('GET', `${keys}${query}`, { token })
      return JSON.stringify(body)
        .match(/"id":"(key_\w+)"/g)
        ?.map((text) => text.slice(6, -1))
    }
    expect(await idsOf('')).toEqual([device.keyId, disabled, expired, revoked])
    expect(await idsOf('?status=active')).toEqual([device.keyId])
    expect(await idsOf('?status=disabled')).toEqual([disabled])
    expect(await idsOf('?status=expired')).toEqual([expired])
    expect(await idsOf('?status=revoked')).toEqual([revoked])

    const first = await call('GET', `${keys}?limit=3`, { token })
    const cursor = pick(first.body, 'next_cursor')
    expect(await idsOf(`?limit=3&cursor=${cursor}`)).toEqual([revoked])
  })

  it('are expired at the very millisecond of their end, and active one before it', async () => {
    const { user, keys, device } = await setUp()
    const path = `${keys}/${device.keyId}`
    const end = Date.now() + 60_000
    await execute('update api_keys set expires_at = ? where id = ?', end, device.keyId)
    const statusAt = async (now: number) => {
      setClock(now)
      return await call('GET', path, { token: await freshToken(user) })
    }
    expect((await statusAt(end - 1)).body).toMatchObject({ status: 'active' })
    expect((await statusAt(end)).body).toMatchObject({ status: 'expired' })
    const rotated = await call('POST', `${path}/rotate`, {
      token: await freshToken(user),
      body: {},
    })
    expect(rotated).toMatchObject({ status: 409, body: { code: 'key_expired' } })
  })

  it('are audited with what changed', async () => {
    const { keys, token, device, user } = await setUp()
    const path = `${keys}/${device.keyId}`
    const headers = { 'CF-Connecting-IP': '203.0.113.7', 'X-Request-Id': 'request-of-the-test' }
    const body = { scopes: ['a:b'], enabled: false }
    await call('PATCH', path, { token, body, headers })
    await call('POST', `${path}/rotate`, { token, body: { overlap_seconds: 60 } })

    const events = await call('GET', '/v1/audit-events?limit=2', { token })
    expect(events.body).toMatchObject({
      items: [
        { action: 'key.rotated', key_id: device.keyId, after: { overlap_seconds: 60 } },
        {
          action: 'key.updated',
          actor: { type: 'user', id: user.id },
          device_id: device.id,
          key_id: device.keyId,
          ip: '203.0.113.7',
          request_id: expect.stringMatching(/^request-of-the-test [0-9a-f-]{36}$/),
          before: { scopes: [], enabled: true },
          after: body,
        },
      ],
    })
    const rest = await call('GET', `/v1/audit-events?cursor=${pick(events.body, 'next_cursor')}`, {
      token,
    })
    expect(rest.body).toMatchObject({ items: [{ action: 'device.created' }], next_cursor: null })
    expect(events.text + rest.text).not.toContain(device.secret)
    expect(
      (await call('GET', '/v1/audit-events', { token: (await makeUser()).token })).body,
    ).toEqual({
      items: [],
      next_cursor: null,
    })
  })
})

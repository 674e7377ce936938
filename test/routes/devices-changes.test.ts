import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { type Answer, call } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { countStatuses, expectProblem, TIME } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { auditOf, countRows, rowsOf, execute } from '../support/rows.ts'

async function patch(user: TestUser, device: TestDevice, body: unknown): Promise<Answer> {
  return await call('PATCH', `/v1/devices/${device.id}`, { token: user.token, body })
}

async function remove(user: TestUser, device: TestDevice): Promise<Answer> {
  return await call('DELETE', `/v1/devices/${device.id}`, { token: user.token })
}

async function present(secret: string): Promise<Answer> {
  return await call('GET', '/v1/device', { token: secret })
}

describe('PATCH /v1/devices/{id}', () => {
  it('changes what is given and leaves the rest', async () => {
    const user = await makeUser()
    const device = await makeDevice(user, 'before')
    const metadata = { floor: 2 }
    const first = await patch(user, device, { metadata })
    expect(first.status).toBe(200)
    expect(first.body).toEqual({
      id: device.id,
      name: 'before',
      metadata,
      enabled: true,
      created_at: TIME,
      updated_at: TIME,
    })
    expect((await patch(user, device, { name: 'e\u0301after' })).body).toMatchObject({
      name: 'éafter',
      metadata,
    })
    expect((await patch(user, device, { metadata: {} })).body).toMatchObject({
      name: 'éafter',
      metadata: {},
    })
    expect((await present(device.secret)).body).toMatchObject({ device: { name: 'éafter' } })
  })

  it('takes an empty change for none', async () => {
    const user = await makeUser()
    const device = await makeDevice(user, 'same')
    const before = await rowsOf('select * from devices where id = ?', device.id)
    const answer = await patch(user, device, {})
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({ id: device.id, name: 'same' })
    expect(await rowsOf('select * from devices where id = ?', device.id)).toEqual(before)
    expect(await auditOf(user.id)).toHaveLength(1)
  })

  it('409 for the name of another own device, and nothing changes', async () => {
    const user = await makeUser()
    await makeDevice(user, 'taken')
    const device = await makeDevice(user, 'mine')
    await makeDevice(await makeUser(), "somebody else's")
    const answer = await patch(user, device, { name: 'taken', enabled: false })
    expectProblem(answer, 409, 'device_name_taken')
    expect((await present(device.secret)).body).toMatchObject({ device: { name: 'mine' } })
    expect(await auditOf(user.id)).toHaveLength(2)
    expect((await patch(user, device, { name: 'mine' })).status).toBe(200)
    expect((await patch(user, device, { name: "somebody else's" })).status).toBe(200)
  })

  it('of 20 renamings at once to one name, one wins', async () => {
    const user = await makeUser()
    const devices = await Promise.all(
      Array.from({ length: 20 }, async () => await makeDevice(user)),
    )
    const answers = await Promise.all(
      devices.map(async (device) => await patch(user, device, { name: 'the one' })),
    )
    expect(countStatuses(answers)).toEqual({ 200: 1, 409: 19 })
    expect(await countRows('devices', "user_id = ? and name = 'the one'", user.id)).toBe(1)
  })

  it('disabled, its secret is told so, and works again when enabled', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    expect((await present(device.secret)).status).toBe(200)
    const disabled = await patch(user, device, { enabled: false })
    expect(disabled.body).toMatchObject({ enabled: false })
    expectProblem(await present(device.secret), 401, 'disabled')
    const [row] = await rowsOf('select disabled_at from devices where id = ?', device.id)
    await patch(user, device, { enabled: false })
    const again = await rowsOf('select disabled_at from devices where id = ?', device.id)
    expect(again).toEqual([row])
    expect((await patch(user, device, { enabled: true })).body).toMatchObject({ enabled: true })
    expect((await present(device.secret)).status).toBe(200)
  })

  it.each([
    [{ name: '' }, ['/name']],
    [{ name: null }, ['/name']],
    [{ metadata: null }, ['/metadata']],
    [{ metadata: { text: 'x'.repeat(4086) } }, ['/metadata']],
    [{ enabled: 'false' }, ['/enabled']],
    [{ enabled: 0 }, ['/enabled']],
    [{ id: 'dev_x', key: {} }, ['/id', '/key']],
    [[], ['']],
  ])('400 for %j', async (body, pointers) => {
    const user = await makeUser()
    const answer = await patch(user, await makeDevice(user), body)
    expectProblem(answer, 400, 'invalid_request', pointers)
  })
})

describe('DELETE /v1/devices/{id}', () => {
  it('removes the device and tells its secret that it is revoked', async () => {
    const user = await makeUser()
    const device = await makeDevice(user, 'gone')
    const kept = await makeDevice(user, 'kept')
    expect((await present(device.secret)).status).toBe(200)
    await execute("update key_secrets set first_used_country = 'DE'")
    const answer = await remove(user, device)
    expect([answer.status, answer.text]).toEqual([204, ''])
    expectProblem(await present(device.secret), 401, 'revoked')
    expectProblem(await remove(user, device), 404, 'not_found')
    const path = `/v1/devices/${device.id}`
    expectProblem(await call('GET', path, { token: user.token }), 404, 'not_found')
    expectProblem(await patch(user, device, { name: 'x' }), 404, 'not_found')
    expectProblem(await patch(user, device, {}), 404, 'not_found')

    const hash = await sha256(device.secret)
    expect(await rowsOf('select * from key_secrets where hash = ?', hash)).toMatchObject([
      {
        key_id: null,
        tombstone_user_id: user.id,
        revoked_at: expect.any(Number),
        first_used_country: null,
      },
    ])
    expect(await countRows('api_keys', 'id = ?', device.keyId)).toBe(0)
    expect(await countRows('purges', 'device_id = ?', device.id)).toBe(1)
    expect((await present(kept.secret)).status).toBe(200)
    expect((await makeDevice(user, 'gone')).id).not.toBe(device.id)
  })

  it('of 5 at once, one deletes', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const answers = await Promise.all([1, 2, 3, 4, 5].map(async () => await remove(user, device)))
    expect(countStatuses(answers)).toEqual({ 204: 1, 404: 4 })
    expect(await auditOf(user.id)).toHaveLength(2)
  })
})

describe('what a device was', () => {
  it('is audited: one row for each change, with before and after', async () => {
    const user = await makeUser()
    const other = await makeUser()
    const device = await makeDevice(user, 'first')
    await patch(user, device, { name: 'second', metadata: { a: [1] } })
    await patch(user, device, { enabled: false })
    await remove(user, device)

    const audit = await auditOf(user.id)
    expect(audit).toMatchObject([
      { action: 'device.created', before: null, after: { name: 'first', metadata: {} } },
      {
        action: 'device.updated',
        before: { name: 'first', metadata: {} },
        after: { name: 'second', metadata: { a: [1] } },
      },
      { action: 'device.updated', before: { enabled: true }, after: { enabled: false } },
      { action: 'device.deleted', before: { name: 'second', metadata: { a: [1] } } },
    ])
    for (const row of audit) expect(row).toMatchObject({ actorId: user.id, deviceId: device.id })
    expect(await auditOf(other.id)).toEqual([])
  })

  it('is not audited when it was refused, and holds no secret', async () => {
    const user = await makeUser()
    const other = await makeUser()
    const device = await makeDevice(user, 'mine')
    const audit = await auditOf(user.id)
    await makeDevice(user, 'mine').catch(() => undefined)
    await patch(user, device, { name: '' })
    await patch(other, device, { name: 'theirs' })
    await remove(other, device)
    expect(await auditOf(user.id)).toEqual(audit)
    expect(await auditOf(other.id)).toEqual([])
    const rows = JSON.stringify(await rowsOf('select * from audit_events'))
    expect(rows).not.toContain(device.secret.slice(3, 20))
    expect(rows).not.toContain(await sha256(device.secret))
  })

  it('keeps its audit rows while they are young', async () => {
    const user = await makeUser()
    await makeDevice(user)
    for (const change of ["update audit_events set action = 'x'", 'delete from audit_events']) {
      await expect(env.DB.prepare(change).run()).rejects.toThrow('audit_events')
    }
  })
})

describe('a change of a device', () => {
  it('is one D1 batch beside the reading of the session', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const { database, statements } = countStatements(env.DB)
    let batches = 0
    const counted = new Proxy(database, {
      get(target, property) {
        if (property === 'batch') batches += 1
        return Reflect.get(target, property, target)
      },
    })
    for (const [method, selects, body] of [
      ['PATCH', 3, { name: 'x' }],
      ['DELETE', 2],
    ] as const) {
      batches = 0
      statements.length = 0
      await call(method, `/v1/devices/${device.id}`, {
        token: user.token,
        body,
        env: { ...env, DB: counted },
      })
      expect(batches).toBe(1)
      // The session is read before the batch and in it; a change also reads the device in it.
      expect(statements.filter((text) => text.startsWith('select'))).toHaveLength(selects)
    }
  })
})

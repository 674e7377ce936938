import { describe, expect, it } from 'vitest'
import { type Answer, call, ORIGIN, pick } from '../support/client.ts'
import { anId, countStatuses, expectProblem, TIME } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { countRows, execute } from '../support/rows.ts'

async function create(user: TestUser, body: unknown): Promise<Answer> {
  return await call('POST', '/v1/devices', { token: user.token, body })
}

async function list(user: TestUser, query = ''): Promise<Answer> {
  return await call('GET', `/v1/devices${query}`, { token: user.token })
}

/** The names on a page, in order. */
function namesOn({ body }: Answer): string[] {
  const items =
    typeof body === 'object' && body !== null && 'items' in body && Array.isArray(body.items)
      ? body.items
      : []
  return items.map((item) => pick(item, 'name'))
}

/** Metadata whose JSON has so many bytes. */
function metadataOf(bytes: number): { text: string } {
  const free = bytes - '{"text":""}'.length
  return { text: 'é'.repeat(Math.floor(free / 2)) + 'x'.repeat(free % 2) }
}

describe('POST /v1/devices', () => {
  it('makes a device with its first key, and shows the secret this once', async () => {
    const user = await makeUser()
    const metadata = { room: 4, tags: ['a', null], deep: { er: true } }
    const answer = await create(user, { name: 'Boiler', metadata, key: { name: 'first' } })
    expect(answer.status).toBe(201)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const device = {
      id: anId('dev'),
      name: 'Boiler',
      metadata,
      enabled: true,
      created_at: TIME,
      updated_at: TIME,
    }
    expect(answer.body).toMatchObject({
      device,
      key: { id: anId('key'), name: 'first', created_at: TIME },
      api_key: expect.stringMatching(/^lk_[0-9A-Za-z]{40}$/),
    })
    expect(Object.keys(answer.body ?? {}).toSorted()).toEqual(['api_key', 'device', 'key'])
    const secret = pick(answer.body, 'api_key')
    const id = pick(answer.body, 'device', 'id')
    expect(answer.body).toMatchObject({ key: { secrets: [{ hint: `${secret.slice(0, 9)}…` }] } })
    expect(answer.headers.get('location')).toBe(`${ORIGIN}/v1/devices/${id}`)

    const found = await call('GET', `/v1/devices/${id}`, { token: user.token })
    expect(found.status).toBe(200)
    expect(found.body).toMatchObject({ ...device, id, last_seen_at: null, last_report: null })
    const listed = await list(user)
    expect(namesOn(listed)).toEqual(['Boiler'])
    for (const { text } of [found, listed]) expect(text).not.toContain(secret.slice(9))
    expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
  })

  it('names the first key when nobody does', async () => {
    const answer = await create(await makeUser(), { name: 'plain' })
    expect(answer.body).toMatchObject({ device: { metadata: {} }, key: { name: 'default' } })
  })

  it.each([
    ['one letter', 'a', 'a'],
    ['80 characters', 'x'.repeat(80), 'x'.repeat(80)],
    ['80 characters beyond the BMP', '🔥'.repeat(80), '🔥'.repeat(80)],
    ['80 composed, 160 as sent', 'e\u0301'.repeat(80), 'é'.repeat(80)],
    ['spaces within, and trimmed around', ' my  device ', 'my  device'],
    ['quotes and markup', `'"; drop table devices; <b>`, `'"; drop table devices; <b>`],
    ['a joined emoji', '👩‍🔧', '👩‍🔧'],
  ])('takes the name: %s', async (_label, name, kept) => {
    const answer = await create(await makeUser(), { name })
    expect(answer.status).toBe(201)
    expect(pick(answer.body, 'device', 'name')).toBe(kept)
  })

  it.each([
    ['empty', ''],
    ['only spaces', '   '],
    ['81 characters', 'x'.repeat(81)],
    ['NUL', 'a\u0000b'],
    ['a line break', 'a\nb'],
    ['a C1 control', 'a\u0085b'],
    ['DEL', 'a\u007fb'],
    ['a line separator', 'a\u2028b'],
    ['a paragraph separator', 'a\u2029b'],
    ['a bidi override', 'a\u202eb'],
    ['a bidi isolate', 'a\u2066b'],
    ['a lone surrogate', 'a\ud800b'],
    ['a number', 7],
    ['null', null],
  ])('refuses the name: %s', async (_label, name) => {
    const user = await makeUser()
    expectProblem(await create(user, { name }), 400, 'invalid_request', ['/name'])
    const key = await create(user, { name: 'fine', key: { name } })
    expectProblem(key, 400, 'invalid_request', ['/key/name'])
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
  })

  it('409 for a name that the owner has, in any normal form', async () => {
    const user = await makeUser()
    expect((await create(user, { name: 'caf\u00e9' })).status).toBe(201)
    expectProblem(await create(user, { name: 'caf\u00e9' }), 409, 'device_name_taken')
    expectProblem(await create(user, { name: 'cafe\u0301' }), 409, 'device_name_taken')
    expect((await create(user, { name: 'Caf\u00e9' })).status).toBe(201)
    expect((await create(await makeUser(), { name: 'caf\u00e9' })).status).toBe(201)
  })

  it('takes metadata of 4 KiB, and not of one byte more', async () => {
    const user = await makeUser()
    const most = metadataOf(4096)
    expect(Buffer.byteLength(JSON.stringify(most))).toBe(4096)
    const created = await create(user, { name: 'full', metadata: most })
    expect(created.body).toMatchObject({ device: { metadata: most } })
    const over = await create(user, { name: 'over', metadata: metadataOf(4097) })
    expectProblem(over, 400, 'invalid_request', ['/metadata'])
  })

  it.each([
    [{}, ['/name']],
    [{ name: 'a', metadata: [] }, ['/metadata']],
    [{ name: 'a', metadata: null }, ['/metadata']],
    [{ name: 'a', metadata: 'x' }, ['/metadata']],
    [{ name: 'a', key: 'x' }, ['/key']],
    [{ name: 'a', key: { id: 'key_x' } }, ['/key/id']],
    [{ name: 'a', id: 'dev_x', user_id: 'user_x' }, ['/id', '/user_id']],
    [{ name: 'a', enabled: false }, ['/enabled']],
    [[], ['']],
    ['text', ['']],
  ])('400 for %j', async (body, pointers) => {
    expectProblem(await create(await makeUser(), body), 400, 'invalid_request', pointers)
  })

  it('of 50 at once for one name, one wins, whole', async () => {
    const user = await makeUser()
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => await create(user, { name: 'the one' })),
    )
    expect(countStatuses(answers)).toEqual({ 201: 1, 409: 49 })
    for (const answer of answers) {
      if (answer.status === 409) expectProblem(answer, 409, 'device_name_taken')
    }
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(1)
    const keys = 'device_id in (select id from devices where user_id = ?)'
    expect(await countRows('api_keys', keys, user.id)).toBe(1)
    const secrets = `key_id in (select id from api_keys where ${keys})`
    expect(await countRows('key_secrets', secrets, user.id)).toBe(1)
    expect(await countRows('audit_events', 'user_id = ?', user.id)).toBe(1)
  })
})

describe('GET /v1/devices', () => {
  it('walks seven devices in pages of three, none lost and none twice', async () => {
    const user = await makeUser()
    const names = ['one', 'two', 'three', 'four', 'five', 'six', 'seven']
    for (const name of names) await makeDevice(user, name)
    // All in one millisecond: then only the id tells where a page ends.
    await execute('update devices set created_at = 1000 where user_id = ?', user.id)
    await makeDevice(await makeUser(), "somebody else's")

    const pages: string[][] = []
    for (let query = '?limit=3'; query !== '';) {
      const page = await list(user, query)
      expect(page.status).toBe(200)
      pages.push(namesOn(page))
      const isLast = page.text.endsWith('"next_cursor":null}')
      query = isLast ? '' : `?limit=3&cursor=${pick(page.body, 'next_cursor')}`
    }
    expect(pages.map((page) => page.length)).toEqual([3, 3, 1])
    expect(pages.flat()).toEqual(names)
  })

  it('does not repeat or skip when a device comes or goes between pages', async () => {
    const user = await makeUser()
    const made = []
    for (const name of ['a', 'b', 'c', 'd']) made.push(await makeDevice(user, name))
    const first = await list(user, '?limit=2')
    await call('DELETE', `/v1/devices/${made[1]?.id}`, { token: user.token })
    await makeDevice(user, 'e')
    const cursor = pick(first.body, 'next_cursor')
    expect(namesOn(await list(user, `?limit=2&cursor=${cursor}`))).toEqual(['c', 'd'])
  })

  it('has 20 on a page unless asked, at most 100, and no next where none is', async () => {
    const user = await makeUser()
    await Promise.all(Array.from({ length: 21 }, async () => await makeDevice(user)))
    expect(namesOn(await list(user))).toHaveLength(20)
    expect(namesOn(await list(user, '?limit=100'))).toHaveLength(21)
    expect((await list(user, '?limit=21')).body).toMatchObject({ next_cursor: null })
    expect(namesOn(await list(user, '?limit=1'))).toHaveLength(1)
  })

  it('searches names and tells apart enabled and disabled', async () => {
    const user = await makeUser()
    for (const name of ['Boiler 1', 'boiler 2', 'Pump 100%', 'Pump_3']) await makeDevice(user, name)
    const off = await makeDevice(user, 'Boiler 3')
    const path = `/v1/devices/${off.id}`
    await call('PATCH', path, { token: user.token, body: { enabled: false } })
    const found = async (query: string) => namesOn(await list(user, query))
    expect(await found('?q=BOILER')).toEqual(['Boiler 1', 'boiler 2', 'Boiler 3'])
    expect(await found('?q=%25')).toEqual(['Pump 100%'])
    expect(await found('?q=_')).toEqual(['Pump_3'])
    expect(await found(`?q=${'x'.repeat(80)}`)).toEqual([])
    expect(await found('?status=disabled')).toEqual(['Boiler 3'])
    expect(await found('?status=enabled&q=boiler')).toEqual(['Boiler 1', 'boiler 2'])
    expect(await found('?q=boiler&limit=2')).toEqual(['Boiler 1', 'boiler 2'])
  })

  it.each([
    ['?limit=0', 'invalid_request', '/limit'],
    ['?limit=101', 'invalid_request', '/limit'],
    ['?limit=-1', 'invalid_request', '/limit'],
    ['?limit=1.5', 'invalid_request', '/limit'],
    ['?limit=', 'invalid_request', '/limit'],
    ['?limit=ten', 'invalid_request', '/limit'],
    ['?status=off', 'invalid_request', '/status'],
    ['?q=', 'invalid_request', '/q'],
    ['?page=2', 'invalid_request', '/page'],
    ['?cursor=', 'invalid_cursor', '/cursor'],
    ['?cursor=nonsense', 'invalid_cursor', '/cursor'],
    ['?cursor=W10', 'invalid_cursor', '/cursor'],
    [`?cursor=${Buffer.from('[1.5,"dev_x"]').toString('base64url')}`, 'invalid_cursor', '/cursor'],
    [`?cursor=${Buffer.from('["1","dev_x"]').toString('base64url')}`, 'invalid_cursor', '/cursor'],
    [`?cursor=${'A'.repeat(400)}`, 'invalid_cursor', '/cursor'],
  ])('400 for %s', async (query, code, pointer) => {
    expectProblem(await list(await makeUser(), query), 400, code, [pointer])
  })
})

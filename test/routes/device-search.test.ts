import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it } from 'vitest'
import { runScheduled } from '../../src/scheduled.ts'
import { call } from '../support/client.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

let user: TestUser

beforeEach(async () => {
  user = await makeUser()
})

type Page = {
  readonly items: readonly { readonly name: string }[]
  readonly next_cursor: string | null
}

async function list(query: Readonly<Record<string, string>>): Promise<Page> {
  const path = `/v1/devices?${new URLSearchParams(query).toString()}`
  const { status, text } = await call('GET', path, { token: user.token })
  expect({ status, text }).toMatchObject({ status: 200 })
  return JSON.parse(text)
}

const namesOf = ({ items }: Page) => items.map(({ name }) => name)

/** All names of a list, page by page. */
async function listAll(query: Readonly<Record<string, string>>, limit: number) {
  const names: string[] = []
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await list({ ...query, limit: `${limit}`, ...(cursor ? { cursor } : {}) })
    names.push(...namesOf(page))
    cursor = page.next_cursor
  }
  return names
}

describe('a search for devices', () => {
  it.each([
    ['Cafe\u0301 door', 'Café DOOR'],
    ['ÅNGSTRÖM', 'gströ'],
    ['Straße 5', 'STRASSE'],
    ['ＴＨＥＲＭＯ', 'thermo'],
  ])('finds %s by %s, whatever the case and the code points', async (name, q) => {
    await makeDevice(user, name)
    await makeDevice(user, 'another')
    expect(namesOf(await list({ q }))).toEqual([name.normalize('NFC')])
  })

  it('goes by the new name after a change', async () => {
    const { id } = await makeDevice(user, 'Ärger')
    await call('PATCH', `/v1/devices/${id}`, { token: user.token, body: { name: 'Öl' } })
    expect(namesOf(await list({ q: 'öl' }))).toEqual(['Öl'])
    expect(namesOf(await list({ q: 'ärger' }))).toEqual([])
  })

  it('finds names of before folding by ASCII, and by everything once the cron has been there', async () => {
    for (const name of ['ÄLT-Door', 'ÄLT-Window']) await makeDevice(user, name)
    await execute('update devices set name_folded = null where user_id = ?', user.id)
    expect(namesOf(await list({ q: 'DOOR' }))).toEqual(['ÄLT-Door'])
    expect(namesOf(await list({ q: 'ält' }))).toEqual([])
    await runScheduled(env)
    expect(namesOf(await list({ q: 'ält' }))).toEqual(['ÄLT-Door', 'ÄLT-Window'])
    expect(await countRows('devices', 'name_folded is null')).toBe(0)
  })

  it('keeps a name that was given while the cron folded the old one', async () => {
    const { id } = await makeDevice(user, 'old')
    await execute('update devices set name_folded = null where id = ?', id)
    const racing = tapDatabase(env.DB, async ([text = ''], run) => {
      if (text.includes('update "devices"')) {
        await call('PATCH', `/v1/devices/${id}`, { token: user.token, body: { name: 'NEW' } })
      }
      return await run()
    })
    await runScheduled({ ...env, DB: racing })
    expect(await rowsOf('select name, name_folded from devices where id = ?', id)).toEqual([
      { name: 'NEW', name_folded: 'new' },
    ])
  })
})

describe('a search by the beginning of the name', () => {
  const NAMES = ['Door 1', 'door 10', 'DOOR 2', 'Doorbell', 'Dor', 'Ärger', 'window']

  beforeEach(async () => {
    for (const name of NAMES) await makeDevice(user, name)
  })

  it('finds names that begin so, in their order, whatever the case', async () => {
    const found = ['Door 1', 'door 10', 'DOOR 2', 'Doorbell']
    expect(namesOf(await list({ name_prefix: 'dOOr' }))).toEqual(found)
    expect(namesOf(await list({ name_prefix: 'DOOR ' }))).toEqual(found.slice(0, 3))
    expect(namesOf(await list({ name_prefix: 'ä' }))).toEqual(['Ärger'])
    expect(namesOf(await list({ name_prefix: 'x' }))).toEqual([])
  })

  it.each([1, 2, 3, 100])(
    'lists each once over pages of %s, and those that fold alike',
    async (limit) => {
      await makeDevice(user, 'DOOR 1')
      const names = await listAll({ name_prefix: 'd' }, limit)
      expect(names).toHaveLength(6)
      expect(new Set(names)).toEqual(new Set(['DOOR 1', ...NAMES.slice(0, 5)]))
    },
  )

  it('may be narrowed further by q and status', async () => {
    expect(namesOf(await list({ name_prefix: 'door', q: '1' }))).toEqual(['Door 1', 'door 10'])
    expect(namesOf(await list({ name_prefix: 'door', status: 'disabled' }))).toEqual([])
  })

  it("does not find what is another user's", async () => {
    await makeDevice(await makeUser(), 'Doorkeeper')
    expect(namesOf(await list({ name_prefix: 'doork' }))).toEqual([])
  })

  it('refuses a cursor of a list in another order, either way', async () => {
    const byAge = (await list({ limit: '1' })).next_cursor ?? ''
    const byName = (await list({ limit: '1', name_prefix: 'd' })).next_cursor ?? ''
    for (const query of [{ cursor: byName }, { cursor: byAge, name_prefix: 'd' }]) {
      const path = `/v1/devices?${new URLSearchParams(query).toString()}`
      const answer = await call('GET', path, { token: user.token })
      expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_cursor' } })
    }
  })

  it('stays within the beginning, whatever the cursor says', async () => {
    await makeDevice(user, 'Attic')
    const cursor = Buffer.from(JSON.stringify(['a', ''])).toString('base64url')
    expect(namesOf(await list({ name_prefix: 'door', cursor }))).toHaveLength(4)
  })
})

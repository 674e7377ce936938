import { beforeEach, describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { execute, rowsOf } from '../support/rows.ts'

let user: TestUser
let device: TestDevice

beforeEach(async () => {
  user = await makeUser()
  device = await makeDevice(user)
})

type Change = Readonly<Record<string, unknown>>

const deviceUrl = () => `/v1/devices/${device.id}`
const keyUrl = () => `${deviceUrl()}/keys/${device.keyId}`

async function patch(path: string, body: Change): Promise<void> {
  expect((await call('PATCH', path, { token: user.token, body })).status).toBe(200)
}

/** The subjects and owners of the feed's rows that a change adds. */
async function addedBy(change: () => Promise<unknown>) {
  const [before] = await rowsOf('select coalesce(max(seq), 0) as seq from revocations')
  await change()
  const rows = await rowsOf(
    'select subject, owner_id from revocations where seq > ? order by seq',
    before?.['seq'],
  )
  return rows.map((row) => [row['subject'], row['owner_id']])
}

const LATER = '2099-01-01T00:00:00Z'
const SOONER = '2098-01-01T00:00:00Z'
const RATE = { limit: 5, window_seconds: 60 }

describe('a change of a key writes one row into the feed', () => {
  it.each<[string, Change, Change]>([
    ['if it gives the key another name', {}, { name: 'other' }],
    ['if it changes the scopes', { scopes: ['a'] }, { scopes: ['b'] }],
    ['if it limits an unlimited key', {}, { rate_limit: RATE }],
    ['if it lifts the last limit', { rate_limit: RATE }, { rate_limit: null }],
    ['if it sets an end', {}, { expires_at: LATER }],
    ['if it moves the end closer', { expires_at: LATER }, { expires_at: SOONER }],
    ['if it disables the key', {}, { enabled: false }],
  ])('%s', async (_, before, change) => {
    if (Object.keys(before).length > 0) await patch(keyUrl(), before)
    const added = await addedBy(async () => await patch(keyUrl(), change))
    expect(added).toEqual([[device.keyId, user.id]])
  })

  it.each<[string, Change, Change]>([
    ['if it says what is so already', { scopes: ['a'] }, { scopes: ['a'] }],
    ['if it changes nothing that a token says', {}, { self_rotation: true }],
    [
      'if a limit takes the place of another',
      { rate_limit: RATE },
      { rate_limit: { ...RATE, limit: 6 } },
    ],
    [
      'if a limit stays beside another',
      { rate_limit: RATE },
      { quota: { limit: 5, period: 'day' } },
    ],
    ['if it moves the end away', { expires_at: SOONER }, { expires_at: LATER }],
    ['if it takes the end away', { expires_at: SOONER }, { expires_at: null }],
    ['if it enables the key', { enabled: false }, { enabled: true }],
    ['if the key is disabled already', { enabled: false }, { enabled: false, self_rotation: true }],
  ])('but not %s', async (_, before, change) => {
    if (Object.keys(before).length > 0) await patch(keyUrl(), before)
    expect(await addedBy(async () => await patch(keyUrl(), change))).toEqual([])
  })
})

describe('a change of a device writes one row into the feed', () => {
  it.each<[string, Change]>([
    ['if it gives the device another name', { name: 'renamed' }],
    ['if it disables the device', { enabled: false }],
  ])('%s', async (_, change) => {
    const added = await addedBy(async () => await patch(deviceUrl(), change))
    expect(added).toEqual([[device.id, user.id]])
  })

  it('but not if it changes only the metadata', async () => {
    const change = { name: device.name, metadata: { room: 4 }, enabled: true }
    expect(await addedBy(async () => await patch(deviceUrl(), change))).toEqual([])
  })

  it('if it deletes the device', async () => {
    const added = await addedBy(async () => await call('DELETE', deviceUrl(), user))
    expect(added).toEqual([[device.id, user.id]])
  })
})

describe('a row of the feed names the owner', () => {
  it('if a rotation ends a secret', async () => {
    const rotate = async () => await call('POST', `${keyUrl()}/rotate`, { ...user, body: {} })
    expect(await addedBy(rotate)).toEqual([[expect.any(String), user.id]])
  })

  it('if the trigger writes it for a user who is disabled', async () => {
    const disable = async () =>
      await execute('update users set disabled_at = 1 where id = ?', user.id)
    expect(await addedBy(disable)).toEqual([[user.id, user.id]])
  })
})

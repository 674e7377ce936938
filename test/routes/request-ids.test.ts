import { afterEach, describe, expect, it, vi } from 'vitest'
import { call } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { makeUser } from '../support/fixtures.ts'
import { rowsOf } from '../support/rows.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const idsOnRecord = async (userId: string) =>
  (await rowsOf('select request_id from audit_events where user_id = ?', userId)).map((row) =>
    String(row['request_id']),
  )

describe('requests of two users with one X-Request-Id', () => {
  const repeated = 'the-id-of-another'
  const headers = { 'X-Request-Id': repeated }

  it('are told apart on record, are both found by it, and get it back', async () => {
    const users = [await makeUser(), await makeUser()]
    const lines = captureConsole()
    for (const { token } of users) {
      const answer = await call('POST', '/v1/devices', { token, headers, body: { name: 'x' } })
      expect([answer.status, answer.headers.get('x-request-id')]).toEqual([201, repeated])
    }
    const ids = (await Promise.all(users.map(async ({ id }) => await idsOnRecord(id)))).flat()
    for (const id of ids) expect(id).toMatch(new RegExp(`^${repeated} [0-9a-f-]{36}$`))
    expect(new Set(ids).size).toBe(2)
    expect(eventsOf(lines, 'request').map(({ id }) => id)).toEqual(ids)
  })

  it('are told apart in the lines of a failure, too', async () => {
    const lines = captureConsole()
    for (const path of ['/v1/me', '/v1/devices']) {
      const { token } = await makeUser()
      await call('GET', path, { token, headers, env: withFailingDatabase() })
    }
    const ids = eventsOf(lines, 'failure').map(({ id }) => String(id))
    expect(ids.map((id) => id.split(' ')[0])).toEqual([repeated, repeated])
    expect(new Set(ids).size).toBe(2)
  })
})

describe('the id on record', () => {
  it.each([
    ['without one of the client’s', {}],
    ['with one that is not taken', { 'X-Request-Id': 'two words' }],
  ])('is ours alone, and the answer’s, %s', async (_, headers) => {
    const { id, token } = await makeUser()
    const { headers: answered } = await call('POST', '/v1/devices', {
      token,
      headers,
      body: { name: 'x' },
    })
    expect(await idsOnRecord(id)).toEqual([answered.get('x-request-id')])
  })
})

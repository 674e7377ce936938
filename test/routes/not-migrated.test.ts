import { env, exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { SCHEMA_NUMBER } from '../../src/db/schema.ts'
import { thisIsolate } from '../../src/isolate/state.ts'
import { runScheduled } from '../../src/scheduled.ts'
import { call } from '../support/client.ts'
import { captureConsole, eventsOf, type LogLine } from '../support/console.ts'
import { countStatements } from '../support/counting.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { basic, postForm } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const COMMAND = /`npm run db:migrate:remote`.*`npm run db:migrate`/

const setNumber = async (number: number) =>
  await execute("update meta set value = ? where name = 'schema'", String(number))

let user: TestUser
let device: TestDevice
let lines: LogLine[]

beforeEach(async () => {
  user = await makeUser()
  device = await makeDevice(user)
  thisIsolate.lastProbe = undefined
  lines = captureConsole()
})

afterEach(async () => {
  vi.restoreAllMocks()
  await setNumber(SCHEMA_NUMBER)
})

/** Runs an act while a column that it needs is not there yet, and the schema has this number. */
async function whileBehind<Value>(number: number, act: () => Promise<Value>): Promise<Value> {
  await setNumber(number)
  await execute('alter table key_secrets rename column replaces to replaces_later')
  try {
    return await act()
  } finally {
    await execute('alter table key_secrets rename column replaces_later to replaces')
  }
}

describe('while the schema of the database is behind', () => {
  it('a door answers 503 not_migrated and names the command, and the log says why', async () => {
    const answer = await whileBehind(
      SCHEMA_NUMBER - 1,
      async () => await call('GET', '/v1/device', { token: device.secret }),
    )
    expectProblem(answer, 503, 'not_migrated')
    expect(answer.body).toMatchObject({ detail: expect.stringMatching(COMMAND) })
    expect(eventsOf(lines, 'failure')).toMatchObject([
      { code: 'not_migrated', database: expect.stringContaining('no such column') },
    ])
  })

  it('the classic door and that of OAuth answer 503 in their own formats', async () => {
    const [classic, oauth] = await whileBehind(SCHEMA_NUMBER - 1, async () => [
      await call('POST', '/device/check-in', { body: { api_key: device.secret } }),
      await postForm(
        '/oauth/token',
        { grant_type: 'client_credentials' },
        basic(device.id, device.secret),
      ),
    ])
    expect(classic?.body).toEqual({ message: expect.stringMatching(COMMAND) })
    expect(oauth?.body).toMatchObject({ error: 'temporarily_unavailable' })
    for (const answer of [classic, oauth]) {
      expect(answer?.status).toBe(503)
      expect(answer?.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    }
  })

  it('RPC answers unavailable, and logs why', async () => {
    const verified = await whileBehind(
      SCHEMA_NUMBER - 1,
      async () => await exports.KeyVerifier.verify(device.secret, { owner: 'any' }),
    )
    expect(verified).toEqual({ valid: false, code: 'unavailable', retry_after: 5 })
    expect(eventsOf(lines, 'failure')).toMatchObject([{ id: 'rpc', code: 'not_migrated' }])
  })

  it('the cron goes on with its other jobs, and logs why one failed', async () => {
    await setNumber(SCHEMA_NUMBER - 1)
    await execute('alter table idempotency rename to idempotency_later')
    await runScheduled(env)
    await execute('alter table idempotency_later rename to idempotency')
    expect(eventsOf(lines, 'failure')).toMatchObject([
      { id: 'cron forget-handed-out', code: 'not_migrated' },
    ])
  })

  it('/healthz is 503 not_migrated, and 200 when the database is at the number or ahead', async () => {
    for (const [number, status] of [
      [SCHEMA_NUMBER - 1, 503],
      [SCHEMA_NUMBER, 200],
      [SCHEMA_NUMBER + 1, 200],
    ] as const) {
      await setNumber(number)
      thisIsolate.lastProbe = undefined
      const answer = await call('GET', '/healthz')
      expect(answer.status).toBe(status)
      if (status === 503) expectProblem(answer, 503, 'not_migrated')
    }
  })

  it('a database of before its schema had a number is behind', async () => {
    await execute('alter table meta rename to meta_later')
    await execute('alter table sessions rename to sessions_later')
    const answers = [
      await call('GET', '/healthz'),
      await call('GET', '/v1/me', { token: user.token }),
    ]
    await execute('alter table sessions_later rename to sessions')
    await execute('alter table meta_later rename to meta')
    for (const answer of answers) expectProblem(answer, 503, 'not_migrated')
  })
})

describe('the number of the schema', () => {
  it('is asked for only after a statement that SQLite could not run', async () => {
    const counted = countStatements(env.DB)
    const other = await makeDevice(user, 'other')
    const world = { ...env, DB: counted.database }
    await call('GET', '/v1/device', { token: device.secret, env: world })
    await call('GET', '/v1/me', { token: user.token, env: world })
    expect(counted.statements.filter((text) => text.includes('meta where'))).toEqual([])
    const asked = await whileBehind(
      SCHEMA_NUMBER,
      async () => await call('GET', '/v1/device', { token: other.secret, env: world }),
    )
    expect(asked.status).toBe(500)
    expect(counted.statements.filter((text) => text.includes('meta where'))).toHaveLength(1)
  })

  it('makes a failing statement a bug of ours where the schema is not behind', async () => {
    const answer = await whileBehind(
      SCHEMA_NUMBER,
      async () => await call('GET', '/v1/device', { token: device.secret }),
    )
    expectProblem(answer, 500, 'internal_error')
    const [failure] = eventsOf(lines, 'failure')
    expect(failure).toMatchObject({ database: expect.stringContaining('no such column') })
    expect(JSON.stringify(failure)).not.toContain(device.secret)
  })

  it('that D1 does not tell leaves the failure an outage', async () => {
    const database = tapDatabase(env.DB, async (texts, run) => {
      if (texts.some((text) => text.includes('meta where')))
        throw new Error('D1_ERROR: internal error')
      return await run()
    })
    const answer = await whileBehind(
      SCHEMA_NUMBER - 1,
      async () =>
        await call('GET', '/v1/device', { token: device.secret, env: { ...env, DB: database } }),
    )
    expectProblem(answer, 503, 'unavailable')
  })
})

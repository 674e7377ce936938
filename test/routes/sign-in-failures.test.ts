import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it } from 'vitest'
import { runScheduled } from '../../src/scheduled.ts'
import { tellSignInFailures } from '../../src/services/sessions/tell-sign-in-failures.ts'
import { call } from '../support/client.ts'
import { withLostAnswers } from '../support/databases.ts'
import { D1_MESSAGE } from '../support/environments.ts'
import { anId } from '../support/expectations.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { addFailures, failuresOf, guess, thisHour } from '../support/guessing.ts'
import { contextAt } from '../support/isolates.ts'
import { auditOf, countRows, execute, rowsOf } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const [HOUR_MS, DAY_MS] = [3_600_000, 86_400_000]
const lastHour = () => thisHour() - HOUR_MS
/** When everything of the last hour is due. */
const due = () => thisHour() + 60_000

beforeEach(async () => {
  await execute('delete from sign_in_failures')
})

/** The counts that the audit of a user tells. */
async function toldOf({ id }: TestUser): Promise<unknown[]> {
  const events = await auditOf(id)
  return events.filter(({ action }) => action === 'user.sign_in_failed').map(({ after }) => after)
}

describe('failed sign-ins', () => {
  it('are told to the owner alone: an event an hour and network, at the end of the hour', async () => {
    const [user, other] = [await makeUser(), await makeUser()]
    await addFailures(user.id, { '2001:db8:0:1::/64': 3 }, lastHour())
    await addFailures(user.id, { none: 1 }, lastHour() - 5 * HOUR_MS)
    await tellSignInFailures(contextAt(due()))
    const { body } = await call('GET', '/v1/audit-events', { token: user.token })
    const event = {
      id: anId('evt'),
      at: new Date(thisHour()).toISOString(),
      action: 'user.sign_in_failed',
      actor: { type: 'system', id: 'tell-sign-in-failures' },
      device_id: null,
      key_id: null,
      ip: '2001:db8:0:1::/64',
      request_id: null,
      before: null,
      after: { count: 3 },
    }
    const older = new Date(thisHour() - 5 * HOUR_MS).toISOString()
    const unplaced = { ...event, at: older, ip: null, after: { count: 1 } }
    expect(body).toEqual({ items: [event, unplaced], next_cursor: null })
    expect(await failuresOf(user.id)).toEqual([])
    const others = await call('GET', '/v1/audit-events', { token: other.token })
    expect(others.body).toEqual({ items: [], next_cursor: null })
  })

  it('are told by the cron, which says how many rows there were', async () => {
    const user = await makeUser()
    await addFailures(user.id, { '192.0.2.1': 3, '192.0.2.2': 4 }, lastHour() - HOUR_MS)
    await runScheduled(env)
    expect(await toldOf(user)).toEqual([{ count: 3 }, { count: 4 }])
  })

  it.each([
    ['the hour goes on', -1, []],
    ['one may still be hashing, less than a minute after the hour', 59_999, []],
    ['the hour ended a minute ago', 60_000, [{ count: 3 }]],
  ])('are told or not: %s', async (_, later, told) => {
    const user = await makeUser()
    await addFailures(user.id, { '192.0.2.1': 3 }, lastHour())
    await tellSignInFailures(contextAt(thisHour() + later))
    expect(await toldOf(user)).toEqual(told)
    expect(await failuresOf(user.id)).toHaveLength(1 - told.length)
  })

  it('of an unknown username are deleted, and told to nobody', async () => {
    await guess({ username: 'nobody-of-this-file' })
    await execute('update sign_in_failures set hour = ?', lastHour())
    const before = await countRows('audit_events', 'true')
    await tellSignInFailures(contextAt(due()))
    expect(await rowsOf('select * from sign_in_failures')).toEqual([])
    expect(await countRows('audit_events', 'true')).toBe(before)
  })

  it('are all told, slice by slice, each once', async () => {
    const user = await makeUser()
    const networks = Array.from({ length: 1200 }, (_, index) => [`net ${index}`, index + 1])
    await execute(
      `insert into sign_in_failures
       select ?1, ?2, value ->> 0, value ->> 1 from json_each(?3)`,
      user.id,
      lastHour() - HOUR_MS,
      JSON.stringify(networks),
    )
    await runScheduled(env)
    const ips = "select count(distinct ip) as ips, count(*) as n, sum(after ->> 'count') as sum"
    const told = await rowsOf(`${ips} from audit_events where user_id = ?`, user.id)
    expect(told).toEqual([{ ips: 1200, n: 1200, sum: (1200 * 1201) / 2 }])
    expect(await failuresOf(user.id)).toEqual([])
  })
})

describe('a failed sign-in is told once', () => {
  it('if the answer to the batch is lost', async () => {
    const user = await makeUser()
    await addFailures(user.id, { '192.0.2.1': 3 }, lastHour())
    const lost = contextAt(due(), { database: withLostAnswers().DB })
    await expect(tellSignInFailures(lost)).rejects.toThrow()
    await tellSignInFailures(contextAt(due()))
    expect(await toldOf(user)).toEqual([{ count: 3 }])
  })

  it('if the batch fails', async () => {
    const user = await makeUser()
    await addFailures(user.id, { '192.0.2.1': 3 }, lastHour())
    const database = tapDatabase(env.DB, async (texts, run) => {
      if (texts.length > 1) throw new Error(D1_MESSAGE)
      return await run()
    })
    await expect(tellSignInFailures(contextAt(due(), { database }))).rejects.toThrow()
    expect(await toldOf(user)).toEqual([])
    await tellSignInFailures(contextAt(due()))
    expect(await toldOf(user)).toEqual([{ count: 3 }])
  })

  it('if two runs of the cron meet', async () => {
    const user = await makeUser()
    await addFailures(user.id, { '192.0.2.1': 3, '192.0.2.2': 4 }, lastHour())
    await Promise.all([1, 2, 3].map(async () => await tellSignInFailures(contextAt(due()))))
    expect(await toldOf(user)).toEqual([{ count: 3 }, { count: 4 }])
  })

  it('if another comes between the read and the batch: with the first, or after it', async () => {
    const user = await makeUser()
    await addFailures(user.id, { '192.0.2.1': 3 }, lastHour())
    const more = 'update sign_in_failures set count = count + 1 where user_id = ?'
    const database = tapDatabase(env.DB, async (texts, run) => {
      if (texts.length > 1) await execute(more, user.id)
      return await run()
    })
    await tellSignInFailures(contextAt(due(), { database }))
    await addFailures(user.id, { '192.0.2.1': 1 }, lastHour())
    await tellSignInFailures(contextAt(due()))
    expect(await toldOf(user)).toEqual([{ count: 4 }, { count: 1 }])
  })
})

describe('the networks of an account', () => {
  it('are forgotten 30 days after the last sign-in from there', async () => {
    const user = await makeUser()
    const insert = 'insert into sign_in_networks values (?, ?, ?)'
    await execute(insert, user.id, 'old', Date.now() - 30 * DAY_MS)
    await execute(insert, user.id, 'young', Date.now() - 30 * DAY_MS + 60_000)
    await runScheduled(env)
    expect(await rowsOf('select network from sign_in_networks')).toEqual([{ network: 'young' }])
  })
})

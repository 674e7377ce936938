import { env } from 'cloudflare:workers'
import * as z from 'zod'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { firstIdAt } from '../../src/crypto/ids.ts'
import { runScheduled } from '../../src/scheduled.ts'
import { clearAuditIps, pruneAudit } from '../../src/services/changes/prune-audit.ts'
import { emptyDeletedDevices } from '../../src/services/devices/empty-deleted-devices.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { contextAt } from '../support/isolates.ts'
import { atOnce, setClock, watchStates } from '../support/limits.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const DAY_MS = 86_400_000

afterEach(async () => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  await execute('delete from purges')
  await execute("delete from meta where name <> 'schema'")
})

/** Notes so many devices of an owner as deleted long ago. */
async function addPurges(owner: string, count: number): Promise<void> {
  await execute(
    `with recursive n (i) as (select 1 union all select i + 1 from n where i < ?2)
     insert into purges (device_id, user_id, at) select 'dev_' || ?1 || '_' || i, ?1, i from n`,
    owner,
    count,
  )
}

/** States whose objects are emptied at once, and do nothing else. */
function quickStates() {
  const { states, calls } = watchStates(() => Promise.resolve())
  return { states, emptied: () => calls.map(({ deviceId }) => deviceId) }
}

describe('emptying the objects of deleted devices', () => {
  it('goes on in one run until all are empty, and says how many there were', async () => {
    await addPurges('alice', 500)
    const { states, emptied } = quickStates()
    const lines = captureConsole()
    await runScheduled({ ...env, DEVICE_STATE: states })
    expect(new Set(emptied()).size).toBe(500)
    expect(await countRows('purges', 'true')).toBe(0)
    expect(eventsOf(lines, 'cron')).toMatchObject([{ job: 'empty-devices', done: 500 }])
  })

  it('lets no small account wait for a large one', async () => {
    await addPurges('a-large-one', 300)
    await addPurges('small', 3)
    await addPurges('tiny', 1)
    const { states, emptied } = quickStates()
    await emptyDeletedDevices(contextAt(Date.now(), { states }))
    const first = emptied()
    expect(first.filter((id) => id.includes('small'))).toHaveLength(3)
    expect(first.filter((id) => id.includes('tiny'))).toHaveLength(1)
    expect(first.filter((id) => id.includes('large')).length).toBeGreaterThan(10)
  })

  it('goes on in one run where a small account has its part in the first slice', async () => {
    await addPurges('a-tiny-one', 1)
    await addPurges('large', 300)
    const { states, emptied } = quickStates()
    await runScheduled({ ...env, DEVICE_STATE: states })
    expect(new Set(emptied()).size).toBe(301)
    expect(await countRows('purges', 'true')).toBe(0)
  })

  it('reads no more rows than it picks, however long the queue of an owner is', async () => {
    await addPurges('a-large-one', 5000)
    await addPurges('small', 3)
    let read = 0
    const database = tapDatabase(env.DB, async (texts, run) => {
      const result = await run()
      const isPick = texts.some((text) => text.includes('cross join'))
      if (isPick)
        read += z.object({ meta: z.object({ rows_read: z.number() }) }).parse(result).meta.rows_read
      return result
    })
    const { states } = quickStates()
    await emptyDeletedDevices(contextAt(Date.now(), { states, database }))
    expect(read).toBeGreaterThan(0)
    expect(read).toBeLessThan(200)
  })

  it('comes to the next owners in the next run, if the first ones have more than a run takes', async () => {
    for (let owner = 0; owner < 40; owner += 1) {
      await addPurges(`owner-${String(owner).padStart(2, '0')}`, 50)
    }
    const { states, emptied } = quickStates()
    for (let turn = 0; turn < 2; turn += 1) {
      await emptyDeletedDevices(contextAt(Date.now(), { states }))
    }
    const owners = new Set(emptied().map((id) => id.slice(0, 'dev_owner-00'.length)))
    expect(owners.size).toBe(40)
  })

  it('takes a part of each of more owners than a slice has places, turn by turn', async () => {
    for (let owner = 0; owner < 50; owner += 1) await addPurges(`owner-${owner}`, 2)
    const { states, emptied } = quickStates()
    for (let turn = 0; turn < 4; turn += 1) {
      await emptyDeletedDevices(contextAt(Date.now(), { states }))
    }
    expect(new Set(emptied()).size).toBe(100)
  })

  it('stops in silence when the plan allows no more calls, and goes on in the next run', async () => {
    await addPurges('alice', 100)
    let calls = 0
    const { states } = watchStates(() => {
      calls += 1
      return calls <= 32 ? Promise.resolve() : Promise.reject(new Error('Too many subrequests.'))
    })
    const exhausted = tapDatabase(env.DB, async (_, run) => {
      if (calls > 32) throw new Error('Too many subrequests.')
      return await run()
    })
    const lines = captureConsole()
    await runScheduled({ ...env, DB: exhausted, DEVICE_STATE: states })
    expect(eventsOf(lines, 'failure')).toEqual([])
    expect(eventsOf(lines, 'cron')).toMatchObject([{ job: 'empty-devices', done: 32 }])
    expect(await countRows('purges', 'true')).toBe(68)
  })
})

/** So many sessions of the user that ended long ago. */
async function addOldSessions({ id }: TestUser, count: number): Promise<void> {
  await execute(
    `with recursive n (i) as (select 1 union all select i + 1 from n where i < ?2)
     insert into sessions (id, user_id, refresh_hash, created_at, refreshed_at, expires_at)
     select 'sess_old_' || i, ?1, 'x', 1, 1, 1 from n`,
    id,
    count,
  )
}

describe('a job of the cron', () => {
  it('goes on slice by slice until nothing is left', async () => {
    const user = await makeUser()
    await addOldSessions(user, 12_000)
    await runScheduled(env)
    expect(await countRows('sessions', 'user_id = ?', user.id)).toBe(1)
  })

  it('begins no other slice when its time is over, and the next run goes on', async () => {
    const user = await makeUser()
    await addOldSessions(user, 12_000)
    setClock(Date.now())
    const slow = tapDatabase(env.DB, async (_, run) => {
      setClock(Date.now() + 20_000)
      return await run()
    })
    const left: number[] = []
    for (let turn = 0; turn < 3; turn += 1) {
      await runScheduled({ ...env, DB: slow })
      left.push(await countRows('sessions', 'user_id = ? and expires_at = 1', user.id))
    }
    expect(left).toEqual([7000, 2000, 0])
  })
})

/** An event of so many days ago, as the application would have written it then. */
async function addEvent(user: TestUser, days: number, index = 0): Promise<string> {
  const at = Date.now() - days * DAY_MS
  const id = firstIdAt('evt', at).slice(0, -2) + String(index).padStart(2, '0')
  await execute(
    `insert into audit_events (id, at, user_id, action, actor_type, ip, after)
     values (?, ?, ?, 'session.created', 'user', '192.0.2.1', '{"session_id":"x"}')`,
    id,
    at,
    user.id,
  )
  return id
}

async function eventsOfUser({ id }: TestUser) {
  const rows = await rowsOf('select id, ip from audit_events where user_id = ? order by id', id)
  return rows.map((row) => [row['id'], row['ip']])
}

describe('the record of what happened', () => {
  it('goes after a year, and its addresses after 30 days', async () => {
    const user = await makeUser()
    await addEvent(user, 366)
    const old = await addEvent(user, 364)
    const older = await addEvent(user, 31)
    const young = await addEvent(user, 29)
    await runScheduled(env)
    expect(await eventsOfUser(user)).toEqual([
      [old, null],
      [older, null],
      [young, '192.0.2.1'],
    ])
  })

  it('goes by the settings', async () => {
    const user = await makeUser()
    await addEvent(user, 91)
    const kept = await addEvent(user, 89)
    const young = await addEvent(user, 8)
    await runScheduled({ ...env, AUDIT_RETENTION_DAYS: '90', AUDIT_IP_DAYS: '7' })
    expect(await eventsOfUser(user)).toEqual([
      [kept, null],
      [young, null],
    ])
  })

  it('loses addresses slice by slice, and never looks at one twice', async () => {
    const user = await makeUser()
    const ids = []
    for (let index = 0; index < 5; index += 1) ids.push(await addEvent(user, 40, index))
    expect((await clearAuditIps(contextAt())).done).toBeGreaterThanOrEqual(5)
    expect(await clearAuditIps(contextAt())).toEqual({ done: 0, isMore: false })
    expect(await eventsOfUser(user)).toEqual(ids.map((id) => [id, null]))
  })

  it('is pruned by two runs at once as by one', async () => {
    const user = await makeUser()
    for (let index = 0; index < 5; index += 1) await addEvent(user, 400, index)
    const kept = await addEvent(user, 100)
    await atOnce(2, async () => {
      await pruneAudit(contextAt())
      await clearAuditIps(contextAt())
    })
    expect(await eventsOfUser(user)).toEqual([[kept, null]])
  })

  it.each([
    ['deleted before 90 days', 'delete from audit_events where id = ?', 89],
    ['changed', "update audit_events set action = 'x', ip = null where id = ?", 400],
    ['given another address', "update audit_events set ip = '192.0.2.2' where id = ?", 400],
    ['without its address before 7 days', 'update audit_events set ip = null where id = ?', 6],
  ])('cannot be %s, whoever writes the SQL', async (_, statement, days) => {
    const user = await makeUser()
    const id = await addEvent(user, days)
    await expect(execute(statement, id)).rejects.toThrow('audit_events')
    expect(await eventsOfUser(user)).toEqual([[id, '192.0.2.1']])
  })
})

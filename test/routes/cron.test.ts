import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { runScheduled } from '../../src/scheduled.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { D1_MESSAGE } from '../support/environments.ts'
import { makeUser } from '../support/fixtures.ts'
import { countRows, execute } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** A database that fails every statement in which this text stands. */
const failingAt = (part: string): D1Database =>
  tapDatabase(env.DB, async (texts, run) => {
    if (texts.some((text) => text.includes(part))) throw new Error(D1_MESSAGE)
    return await run()
  })

const TABLES = [
  'revocations',
  'sessions',
  'sign_in_failures',
  'sign_in_networks',
  'device_claims',
  'idempotency',
  'meta',
  'purges',
]

describe('the cron', () => {
  it.each([
    ['prune-feed', '"revocations"'],
    ['prune-sessions', '"sessions"'],
    ['tell-sign-in-failures', '"sign_in_failures"'],
    ['forget-sign-in-networks', '"sign_in_networks"'],
    ['note-password-hashes', 'select "name", "value" from "meta"'],
    ['forget-claims', '"device_claims"'],
    ['forget-handed-out', '"idempotency"'],
    ['fold-names', '"name_folded" is null'],
    ['prune-audit', 'delete from "audit_events"'],
    ['clear-audit-ips', 'select "id" from "audit_events"'],
    ['empty-devices', '"purges"'],
  ])('goes on where %s fails, whose line it writes', async (job, part) => {
    const lines = captureConsole()
    const texts: string[] = []
    const database = tapDatabase(failingAt(part), async (ran, run) => {
      texts.push(...ran)
      return await run()
    })
    await runScheduled({ ...env, DB: database })
    expect(eventsOf(lines, 'failure').map(({ id }) => id)).toEqual([`cron ${job}`])
    for (const other of TABLES) {
      expect(texts.some((text) => text.includes(`"${other}"`))).toBe(true)
    }
  })

  it('deletes sessions that expired more than a day ago, whoever they belong to', async () => {
    const [old, recent, live] = [await makeUser(), await makeUser(), await makeUser()]
    const expire = 'update sessions set expires_at = ? where user_id = ?'
    await execute(expire, Date.now() - 86_400_001, old.id)
    await execute(expire, Date.now() - 86_000_000, recent.id)
    await runScheduled(env)
    expect(await countRows('sessions', 'user_id = ?', old.id)).toBe(0)
    expect(await countRows('sessions', 'user_id = ?', recent.id)).toBe(1)
    expect(await countRows('sessions', 'user_id = ?', live.id)).toBe(1)
  })
})

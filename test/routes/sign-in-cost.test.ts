import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it } from 'vitest'
import { hashPassword, matchAtCost, type PasswordAlgorithm } from '../../src/crypto/password.ts'
import { runScheduled } from '../../src/scheduled.ts'
import { notePasswordHashes } from '../../src/services/sessions/password-hashes.ts'
import { loadSettings } from '../../src/settings.ts'
import { countStatements } from '../support/counting.ts'
import { makeUser, PASSWORD, type TestUser } from '../support/fixtures.ts'
import { guess } from '../support/guessing.ts'
import { contextAt } from '../support/isolates.ts'
import { execute, rowsOf } from '../support/rows.ts'

const HOUR_MS = 3_600_000

afterEach(async () => {
  await execute('delete from sessions')
  await execute('delete from sign_in_networks')
  await execute('delete from users')
  await execute("delete from meta where name = 'password_hashes'")
})

const withHash = (algorithm: PasswordAlgorithm): Env => ({ ...env, PASSWORD_HASH: algorithm })

async function makeUserOf(algorithm: PasswordAlgorithm): Promise<TestUser> {
  const user = await makeUser()
  const stored = hashPassword(PASSWORD, algorithm)
  await execute('update users set password_hash = ? where id = ?', stored, user.id)
  return user
}

/** The fastest of four failures, in milliseconds: what else the machine does only adds. */
async function costOf(username: string, env: Env): Promise<number> {
  const times = []
  for (let run = 0; run < 4; run += 1) {
    const start = Date.now()
    expect((await guess({ username, env })).status).toBe(401)
    times.push(Date.now() - start)
  }
  return Math.min(...times)
}

/** The cost of one hash. */
function costOfHash(algorithm: PasswordAlgorithm): number {
  const times = Array.from({ length: 3 }, () => {
    const start = performance.now()
    hashPassword(PASSWORD, algorithm)
    return performance.now() - start
  })
  return Math.min(...times)
}

async function noted(): Promise<unknown> {
  const [row] = await rowsOf("select value from meta where name = 'password_hashes'")
  return row?.['value']
}

describe.each(['pbkdf2', 'scrypt'] as const)('with PASSWORD_HASH=%s', (algorithm) => {
  it.each(['before the cron has looked', 'once the cron has looked'])(
    'a failure costs all accounts alike where both algorithms are in use: %s',
    async (when) => {
      const [scrypt, pbkdf2] = [await makeUserOf('scrypt'), await makeUserOf('pbkdf2')]
      const env = withHash(algorithm)
      if (when.startsWith('once')) await runScheduled(env)
      const costs = [
        await costOf('nobody-at-all', env),
        await costOf(scrypt.username, env),
        await costOf(pbkdf2.username, env),
      ]
      const [least, most] = [Math.min(...costs), Math.max(...costs)]
      expect(least).toBeGreaterThan(costOfHash('scrypt') / 2)
      expect(most).toBeLessThan(least * 2)
    },
  )
})

describe('with pbkdf2 alone in use', () => {
  it('a failure costs every account a hash of pbkdf2, and none of scrypt', async () => {
    const user = await makeUserOf('pbkdf2')
    const env = withHash('pbkdf2')
    await runScheduled(env)
    const [least, most] = [costOfHash('pbkdf2') / 2, costOfHash('scrypt')]
    for (const username of [user.username, 'nobody-at-all']) {
      const cost = await costOf(username, env)
      expect(cost).toBeGreaterThan(least)
      expect(cost).toBeLessThan(most)
    }
  })
})

describe('a stored hash', () => {
  const both = ['scrypt', 'pbkdf2'] as const

  it.each(both)('of %s is matched by its password alone', (algorithm) => {
    const stored = hashPassword('right', algorithm)
    expect(matchAtCost('right', stored, both)).toBe('normalized')
    expect(matchAtCost('wrong', stored, both)).toBe(undefined)
  })

  it.each(['', '$scrypt$ln=31,r=8,p=5$AA$AA'])('that is malformed costs a hash: %j', (stored) => {
    const start = performance.now()
    expect(matchAtCost('right', stored, both)).toBe(undefined)
    expect(performance.now() - start).toBeGreaterThan(costOfHash('scrypt') / 2)
  })
})

describe('the note on the stored hashes', () => {
  const settings = loadSettings(withHash('pbkdf2'))
  const now = Date.now()

  it('tells whether all are as one is made today, and under which setting', async () => {
    const ctx = contextAt(now, { settings })
    await notePasswordHashes(ctx)
    expect(await noted()).toBe(`only $pbkdf2-sha256$i=100000$ ${now}`)
    await makeUserOf('scrypt')
    await notePasswordHashes({ ...ctx, now: now + HOUR_MS })
    expect(await noted()).toBe(`mixed $pbkdf2-sha256$i=100000$ ${now + HOUR_MS}`)
    await notePasswordHashes({ ...ctx, now: now + HOUR_MS, settings: loadSettings(env) })
    expect(await noted()).toBe(`only $scrypt$ln=14,r=8,p=5$ ${now + HOUR_MS}`)
  })

  it('is believed for an hour: the users are read no sooner', async () => {
    await notePasswordHashes(contextAt(now, { settings }))
    const { statements, database } = countStatements(env.DB)
    await notePasswordHashes(contextAt(now + HOUR_MS - 1, { settings, database }))
    expect(statements).toHaveLength(1)
    await notePasswordHashes(contextAt(now + HOUR_MS, { settings, database }))
    expect(statements).toHaveLength(3)
  })
})

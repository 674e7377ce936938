import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { signInOnPage } from '../support/claim-page.ts'
import { type Answer, call, freshIp } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { fakeLimiter } from '../support/environments.ts'
import { expectProblem } from '../support/expectations.ts'
import { PASSWORD, type TestUser } from '../support/fixtures.ts'
import {
  addFailures,
  failuresOf,
  guess,
  thisHour,
  withAccountLimiter,
} from '../support/guessing.ts'
import { setClock } from '../support/limits.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { cheapHashing, makeCheapUser, openSession, refresh } from '../support/sign-in.ts'

const DAY_MS = 86_400_000

beforeEach(() => {
  // No hour ends within a test.
  setClock(thisHour() + 1_800_000)
})

afterEach(() => {
  vi.useRealTimers()
})

type Door = {
  readonly door: string
  readonly knock: (username: string, env: Env) => Promise<Answer>
}

/** Every way to sign in, with the right password, from an address that nobody knows. */
const DOORS: readonly Door[] = [
  {
    door: 'POST /v1/sessions',
    knock: async (username, env) => await guess({ username, password: PASSWORD, env }),
  },
  {
    door: 'POST /auth',
    knock: async (username, env) =>
      await call('POST', '/auth', { body: { username, password: PASSWORD }, env }),
  },
  {
    door: 'POST /claim',
    knock: async (username, env) => {
      const user = { id: '', username, sessionId: '', token: '' }
      return await signInOnPage(user, { userCode: 'BCDF-GHJK' }, { env })
    },
  },
]

describe.each(DOORS)('signing in at $door', ({ knock }) => {
  it('waits for the limiter of the account once 20 have failed over all networks', async () => {
    const user = await makeCheapUser()
    const limiter = fakeLimiter(5)
    const env = withAccountLimiter(limiter)
    await addFailures(user.id, { '192.0.2.1': 12, '192.0.2.2': 7 })
    expect((await knock(user.username, env)).status).not.toBe(429)
    expect(limiter.charged).toEqual([])
    await execute('delete from sign_in_networks where user_id = ?', user.id)
    await addFailures(user.id, { '192.0.2.3': 1 })
    for (let network = 0; network < 5; network += 1) {
      expect((await knock(user.username, env)).status).not.toBe(429)
      await execute('delete from sign_in_networks where user_id = ?', user.id)
    }
    const refused = await knock(user.username, env)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(limiter.charged.filter((key) => key === user.id)).toHaveLength(6)
  })

  it('is refused before the password is looked at', async () => {
    const user = await makeCheapUser()
    await addFailures(user.id, { '192.0.2.1': 20 })
    const { database, statements } = countStatements(env.DB)
    const refused = await knock(user.username, {
      ...withAccountLimiter(fakeLimiter(0)),
      DB: database,
    })
    expect(refused.status).toBe(429)
    expect(statements).toHaveLength(1)
    expect(await countRows('sessions', 'user_id = ?', user.id)).toBe(1)
  })
})

describe('the limit of an account', () => {
  it('is 10 a minute from wherever, in the real limiter, for the right password too', async () => {
    const user = await makeCheapUser()
    await addFailures(user.id, { '192.0.2.1': 20 })
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      expectProblem(await guess(user), 401, 'invalid_credentials')
    }
    expectProblem(await guess(user), 429, 'rate_limited')
    expectProblem(await guess({ ...user, password: PASSWORD }), 429, 'rate_limited')
    expect((await guess(await makeCheapUser())).status).toBe(401)
  })

  it('knows an account under each form of its username', async () => {
    const user = await makeCheapUser()
    await addFailures(user.id, { '192.0.2.1': 20 })
    const limiter = fakeLimiter(0)
    const shouted = { username: user.username.toUpperCase(), env: withAccountLimiter(limiter) }
    expectProblem(await guess(shouted), 429, 'rate_limited')
    expect(limiter.charged).toEqual([expect.stringContaining(`${user.id} `)])
  })

  it('forgets the failures of other hours', async () => {
    const user = await makeCheapUser()
    const limiter = fakeLimiter(0)
    await addFailures(user.id, { '192.0.2.1': 1000 }, thisHour() - 3_600_000)
    await addFailures(user.id, { '192.0.2.1': 19 })
    expect((await guess({ ...user, env: withAccountLimiter(limiter) })).status).toBe(401)
    expect(limiter.charged).toEqual([])
  })

  it('holds against one guess from each of 200 networks', async () => {
    const user = await makeCheapUser()
    const networks = Array.from({ length: 200 }, (_, index) => [`net ${index}`, 1])
    await addFailures(user.id, Object.fromEntries(networks))
    const limiter = fakeLimiter(0)
    expectProblem(await guess({ ...user, env: withAccountLimiter(limiter) }), 429, 'rate_limited')
  })

  it('that does not answer is an outage: 503', async () => {
    const user = await makeCheapUser()
    await addFailures(user.id, { '192.0.2.1': 20 })
    const failing = { limit: () => Promise.reject(new Error('no answer')) }
    const answer = await guess({ ...user, env: withAccountLimiter(failing) })
    expectProblem(answer, 503, 'unavailable')
  })
})

describe('a failed sign-in', () => {
  it('is counted by account, network and hour, by one statement after one read', async () => {
    const user = await makeCheapUser()
    for (const ip of ['2001:db8::1', '2001:db8::2', '192.0.2.1']) await guess({ ...user, ip })
    const { database, statements } = countStatements(env.DB)
    await guess({ ...user, ip: '192.0.2.1', env: { ...cheapHashing, DB: database } })
    expect(statements.map((text) => text.split(' ', 1)[0])).toEqual(['select', 'insert'])
    expect(await failuresOf(user.id)).toEqual([
      { network: '192.0.2.1', count: 2 },
      { network: '2001:db8:0:0::/64', count: 2 },
    ])
    const [row] = await rowsOf('select hour from sign_in_failures where user_id = ?', user.id)
    expect(row?.['hour']).toBe(thisHour())
  })

  it('of many at once, each is counted', async () => {
    const user = await makeCheapUser()
    await Promise.all(['a', 'b', 'c', 'd', 'e'].map(() => guess({ ...user, ip: '192.0.2.1' })))
    expect(await failuresOf(user.id)).toEqual([{ network: '192.0.2.1', count: 5 }])
  })

  it('with the right password of a disabled account is none', async () => {
    const user = await makeCheapUser()
    await execute('update users set disabled_at = 1 where id = ?', user.id)
    expectProblem(await guess({ ...user, password: PASSWORD }), 401, 'disabled')
    expect(await failuresOf(user.id)).toEqual([])
  })
})

const nobody = (): Pick<TestUser, 'username'> => ({ username: `nobody-${freshIp()}` })

describe('an unknown username', () => {
  it('fails like a wrong password: the same statements, a count of its own', async () => {
    const { username } = nobody()
    const known = countStatements(env.DB)
    await guess({ ...(await makeCheapUser()), env: { ...cheapHashing, DB: known.database } })
    const unknown = countStatements(env.DB)
    await guess({ username, ip: '192.0.2.9', env: { ...cheapHashing, DB: unknown.database } })
    expect(unknown.statements).toEqual(known.statements)
    await guess({ username: username.toUpperCase(), ip: '192.0.2.9' })
    const rows = await rowsOf("select * from sign_in_failures where network = '192.0.2.9'")
    expect(rows).toEqual([
      {
        user_id: expect.stringMatching(/^unknown_[\w-]{43}$/),
        hour: thisHour(),
        network: '192.0.2.9',
        count: 2,
      },
    ])
  })

  it('waits for a limiter, too, after 20 failures, and no other one does', async () => {
    const { username } = nobody()
    const limiter = fakeLimiter(0)
    const env = withAccountLimiter(limiter)
    await guess({ username, ip: '192.0.2.10', env })
    await execute("update sign_in_failures set count = 20 where network = '192.0.2.10'")
    expectProblem(await guess({ username, env }), 429, 'rate_limited')
    expect(limiter.charged).toEqual([expect.stringMatching(/^unknown_/)])
    expectProblem(await guess({ ...nobody(), env }), 401, 'invalid_credentials')
  })
})

describe('a network from which an account signed in', () => {
  const ip = '198.51.100.1'

  it.each([
    ['is neither counted nor charged', 30 * DAY_MS - 1, 401, []],
    ['is counted and charged again after 30 days', 30 * DAY_MS, 429, ['charged']],
  ])('%s', async (_, age, status, charged) => {
    const user = await makeCheapUser()
    expect((await guess({ ...user, password: PASSWORD, ip })).status).toBe(201)
    const at = Date.now() - age
    await execute('update sign_in_networks set signed_in_at = ? where user_id = ?', at, user.id)
    await addFailures(user.id, { '192.0.2.1': 20 })
    const limiter = fakeLimiter(0)
    const answer = await guess({ ...user, ip, env: withAccountLimiter(limiter) })
    expect(answer.status).toBe(status)
    expect(limiter.charged).toHaveLength(charged.length)
    expect(await failuresOf(user.id)).toEqual([{ network: '192.0.2.1', count: 20 }])
  })

  it('is known by its /64, to this account alone', async () => {
    const [user, other] = [await makeCheapUser(), await makeCheapUser()]
    await guess({ ...user, password: PASSWORD, ip: '2001:db8:1:1::1' })
    for (const someone of [user, other]) await guess({ ...someone, ip: '2001:db8:1:1::2' })
    expect(await failuresOf(user.id)).toEqual([])
    expect(await failuresOf(other.id)).toEqual([{ network: '2001:db8:1:1::/64', count: 1 }])
  })

  it('is remembered once, with the newest time, and a refresh adds none', async () => {
    const user = await makeCheapUser()
    await guess({ ...user, password: PASSWORD, ip })
    setClock(Date.now() + 60_000)
    await guess({ ...user, password: PASSWORD, ip })
    const networks = 'select network, signed_in_at from sign_in_networks where user_id = ?'
    const once = [{ network: ip, signed_in_at: Date.now() }]
    expect(await rowsOf(networks, user.id)).toEqual(once)
    const token = await openSession(await makeCheapUser())
    const before = await countRows('sign_in_networks', 'true')
    expect((await refresh(token)).status).toBe(201)
    expect(await countRows('sign_in_networks', 'true')).toBe(before)
  })

  it('is forgotten with the account, as its failures are', async () => {
    const user = await makeCheapUser()
    await guess({ ...user, password: PASSWORD, ip })
    await addFailures(user.id, { '192.0.2.1': 3 })
    const body = { current_password: PASSWORD }
    expect((await call('DELETE', '/v1/me', { token: user.token, body })).status).toBe(204)
    expect(await countRows('sign_in_networks', 'user_id = ?', user.id)).toBe(0)
    expect(await failuresOf(user.id)).toEqual([])
  })
})

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { type Answer, call, freshIp } from '../support/client.ts'
import { fakeLimiter } from '../support/environments.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, PASSWORD, type TestUser } from '../support/fixtures.ts'
import { cheapHashing, makeCheapUser } from '../support/sign-in.ts'

const NEW = 'a new and long password'

/** Every way in that hashes, each with a body that gets as far as hashing. */
const DOORS = [
  {
    door: 'POST /v1/users',
    body: ({ username }: TestUser) => ({ username, password: PASSWORD }),
  },
  {
    door: 'POST /v1/sessions',
    body: ({ username }: TestUser) => ({ username, password: 'wrong' }),
  },
  {
    door: 'PATCH /v1/me',
    body: () => ({ current_password: 'wrong', password: NEW }),
  },
  { door: 'DELETE /v1/me', body: () => ({ current_password: 'wrong' }) },
  {
    door: 'POST /register',
    body: ({ username }: TestUser) => ({ username, password: PASSWORD }),
  },
  { door: 'POST /auth', body: ({ username }: TestUser) => ({ username, password: 'wrong' }) },
]

function limitersOf(byIp: number, byUsername: number) {
  const limiters = {
    PASSWORD_LIMITER_IP: fakeLimiter(byIp),
    PASSWORD_LIMITER_USERNAME: fakeLimiter(byUsername),
  }
  return { limiters, env: { ...cheapHashing, ...limiters } }
}

async function knock(
  { door, body }: (typeof DOORS)[number],
  user: TestUser,
  options: { readonly env: Env; readonly ip?: string },
): Promise<Answer> {
  const [method = '', path = ''] = door.split(' ')
  return await call(method, path, {
    body: body(user),
    token: user.token,
    env: options.env,
    headers: { 'CF-Connecting-IP': options.ip ?? freshIp() },
  })
}

/** How long a call took. A hash takes a hundred times as long as a refusal. */
async function millisecondsOf(run: () => Promise<Answer>): Promise<number> {
  const start = Date.now()
  await run()
  return Date.now() - start
}

function expectTooMany(answer: Answer): void {
  const isClassic = !answer.headers.get('content-type')?.includes('problem')
  if (isClassic) {
    expect(answer.status).toBe(429)
    expect(answer.body).toEqual({ message: expect.stringMatching(/\S/) })
  } else expectProblem(answer, 429, 'rate_limited')
  expect(answer.headers.get('retry-after')).toBe('60')
}

describe.each(DOORS)('$door', (entry) => {
  it('charges the address, then the username with it, and hashes only after that', async () => {
    const user = await makeUser()
    const { limiters } = limitersOf(2, 1)
    const ip = freshIp()
    const scrypt = { env: { ...env, ...limiters }, ip }
    const allowed = await millisecondsOf(async () => {
      const answer = await knock(entry, user, scrypt)
      expect(answer.status).not.toBe(429)
      return answer
    })
    const refused = await millisecondsOf(async () => {
      expectTooMany(await knock(entry, user, scrypt))
      const answer = await knock(entry, user, scrypt)
      expectTooMany(answer)
      return answer
    })
    expect(refused).toBeLessThan(allowed)
    expect(limiters.PASSWORD_LIMITER_IP.charged).toEqual([ip, ip, ip])
    const pair = `${ip} ${user.username}`
    expect(limiters.PASSWORD_LIMITER_USERNAME.charged).toEqual([pair, pair])
  })

  it('is open to the same user from another address', async () => {
    const user = await makeCheapUser()
    const { env } = limitersOf(1, 1)
    expect((await knock(entry, user, { env })).status).not.toBe(429)
    expect((await knock(entry, user, { env })).status).not.toBe(429)
  })
})

/** One of the doors, for what is the same behind all of them. */
const door = {
  door: 'POST /v1/sessions',
  body: ({ username }: TestUser) => ({ username, password: 'wrong' }),
}

describe('the limits', () => {
  it('are 10 a minute for a username from one address, in the real limiter', async () => {
    const user = await makeCheapUser()
    const ip = freshIp()
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      expectProblem(await knock(door, user, { env, ip }), 401, 'invalid_credentials')
    }
    const shouted = { ...user, username: user.username.toUpperCase() }
    expectTooMany(await knock(door, shouted, { env, ip }))
    expect((await knock(door, await makeCheapUser(), { env, ip })).status).toBe(401)
  })

  it('are 60 a minute for one address, across usernames, in the real limiter', async () => {
    const ip = freshIp()
    const { limiters } = limitersOf(0, 0)
    // The second limiter refuses all: nothing is hashed, and the first one still counts.
    const charged = { ...env, PASSWORD_LIMITER_USERNAME: limiters.PASSWORD_LIMITER_USERNAME }
    const user = await makeUser()
    for (let attempt = 1; attempt <= 61; attempt += 1) {
      const someone = { ...user, username: `someone-${attempt}` }
      expectTooMany(await knock(door, someone, { env: charged, ip }))
    }
    expect(limiters.PASSWORD_LIMITER_USERNAME.charged).toHaveLength(60)
  })

  it('count an IPv6 caller by its /64', async () => {
    const user = await makeCheapUser()
    const { limiters, env } = limitersOf(2, 2)
    for (const ip of ['2001:db8::1', '2001:db8:0:0:ffff::2']) await knock(door, user, { env, ip })
    expectTooMany(await knock(door, user, { env, ip: '2001:0db8::3' }))
    expect((await knock(door, user, { env, ip: '2001:db8:0:1::1' })).status).toBe(401)
    expect(new Set(limiters.PASSWORD_LIMITER_IP.charged).size).toBe(2)
  })

  it('count the /48 of an IPv6 caller as well, more coarsely', async () => {
    const user = await makeCheapUser()
    const site = fakeLimiter(3)
    const limited = { ...limitersOf(9, 9).env, PASSWORD_LIMITER_SITE: site }
    const knockFrom = async (ip: string) => await knock(door, user, { env: limited, ip })
    for (const network of [1, 2, 3]) {
      expect((await knockFrom(`2001:db8:7:${network}::1`)).status).toBe(401)
    }
    expectTooMany(await knockFrom('2001:db8:7:4::1'))
    expect((await knockFrom('2001:db8:8:4::1')).status).toBe(401)
    expect((await knockFrom(freshIp())).status).toBe(401)
    expect(new Set(site.charged)).toEqual(new Set(['2001:db8:7::/48', '2001:db8:8::/48']))
  })

  it('that do not answer are an outage: 503, and nothing is hashed', async () => {
    const failing = { limit: () => Promise.reject(new Error('no answer')) }
    const body = { username: 'somebody', password: 'a long password' }
    for (const name of ['PASSWORD_LIMITER_IP', 'PASSWORD_LIMITER_USERNAME'] as const) {
      const answer = await call('POST', '/v1/sessions', { body, env: { ...env, [name]: failing } })
      expectProblem(answer, 503, 'unavailable')
    }
  })

  it('do not believe X-Forwarded-For', async () => {
    const user = await makeCheapUser()
    const { limiters, env } = limitersOf(9, 9)
    const headers = { 'CF-Connecting-IP': '192.0.2.1', 'X-Forwarded-For': '192.0.2.99' }
    await call('POST', '/v1/sessions', { body: door.body(user), env, headers })
    expect(limiters.PASSWORD_LIMITER_IP.charged).toEqual(['192.0.2.1'])
  })
})

/** The fastest of three: what else the machine does only adds. */
async function fastest(someone: TestUser): Promise<number> {
  const times = []
  for (let run = 0; run < 3; run += 1) {
    times.push(await millisecondsOf(async () => await knock(door, someone, { env })))
  }
  return Math.min(...times)
}

describe('signing in as nobody', () => {
  it('takes the time of a hash, as a wrong password does', async () => {
    const user = await makeUser()
    const wrong = await fastest(user)
    const unknown = await fastest({ ...user, username: 'nobody-at-all' })
    // Without a hash it would be a hundredth.
    expect(unknown).toBeGreaterThan(wrong / 3)
  })
})

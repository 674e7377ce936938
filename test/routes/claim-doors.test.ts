import { afterEach, describe, expect, it, vi } from 'vitest'
import { answer, fieldOf, signInOnPage } from '../support/claim-page.ts'
import { answerClaim, askForCodes, type Asker, poll, postForm } from '../support/claims.ts'
import { type Answer, call, type CallOptions, freshIp } from '../support/client.ts'
import { fakeLimiter } from '../support/environments.ts'
import type { TestUser } from '../support/fixtures.ts'
import { tally } from '../support/limits.ts'
import { execute } from '../support/rows.ts'
import { cheapHashing, makeCheapUser } from '../support/sign-in.ts'

type Decision = {
  readonly decision: string
  readonly name?: string
  readonly scopes?: readonly string[]
}

/** Answers a claim: the one that was looked at, or another. */
type Answering = (userCode: string, body: Decision, options?: CallOptions) => Promise<Answer>

/** One of the two ways in which a person answers a device that shows a code. */
type Door = {
  readonly look: (user: TestUser, userCode: string, options?: CallOptions) => Promise<Answer>
  /** Looks at a claim that waits. */
  readonly open: (user: TestUser, asker: Asker) => Promise<Answering>
}

const asJson: Door = {
  look: async ({ token }, userCode, options = {}) =>
    await call('GET', `/v1/claims/${userCode}`, { token, ...options }),
  open: async (user, { userCode }) => {
    expect((await asJson.look(user, userCode)).status).toBe(200)
    return async (code, body, options = {}) =>
      await call('POST', `/v1/claims/${code}`, { token: user.token, body, ...options })
  },
}

const onPage: Door = {
  look: async (user, userCode, options = {}) => await signInOnPage(user, { userCode }, options),
  open: async (user, asker) => {
    const shown = await signInOnPage(user, asker)
    expect(shown.status).toBe(200)
    const access_token = fieldOf(shown, 'access_token')
    return async (user_code, { scopes = [], ...fields }, options = {}) =>
      await postForm(
        '/claim',
        { access_token, user_code, scopes: scopes.join(' '), ...fields },
        options,
      )
  },
}

const DOORS: readonly (readonly [string, Door])[] = [
  ['/v1/claims', asJson],
  ['/claim', onPage],
]

const APPROVE = { decision: 'approve', name: 'Boiler', scopes: ['a'] }
const DENY = { decision: 'deny' }
const PENDING = { ok: false, reason: 'authorization_pending' }
const CLAIM_MS = 600_000

async function setUp() {
  const user = await makeCheapUser()
  const asker = await askForCodes({ scope: 'a b', device_name: 'A boiler of nobody' })
  return { user, asker }
}

function withLimiter(limit: number): Env {
  return { ...cheapHashing, CLAIM_LIMITER_USER: fakeLimiter(limit) }
}

/** A page that asks to sign in fills the code in again; of the claim neither door says anything. */
function expectRefusal(refused: Answer, status: number): void {
  expect(refused.status).toBe(status)
  expect(refused.text).not.toMatch(/A boiler of nobody|acme-thermo-2/)
  if (status === 429) expect(refused.headers.get('retry-after')).toBe('60')
}

/** Codes under which no device waits. */
async function endedCodes(): Promise<string[]> {
  const [approved, denied] = [await askForCodes(), await askForCodes()]
  await answerClaim(await makeCheapUser(), approved)
  await answerClaim(await makeCheapUser(), denied, DENY)
  return ['BCDF-GHJK', 'nonsense', approved.userCode, denied.userCode]
}

afterEach(() => {
  vi.useRealTimers()
})

describe.each(DOORS)('whoever looks at a claim at %s', (_, door) => {
  it('is told 404 for an unknown, a malformed, an approved and a denied code', async () => {
    const { user } = await setUp()
    for (const code of await endedCodes()) expectRefusal(await door.look(user, code), 404)
  })

  it('sees it until it expires, and not at its end', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { user, asker } = await setUp()
    const end = Date.now() + CLAIM_MS
    vi.setSystemTime(end - 1)
    expect((await door.look(user, asker.userCode)).text).toContain('A boiler of nobody')
    vi.setSystemTime(end)
    expectRefusal(await door.look(user, asker.userCode), 404)
  })

  it('waits when they have looked too often, and so does who shares their address', async () => {
    const { user, asker } = await setUp()
    const byUser = withLimiter(1)
    expect((await door.look(user, asker.userCode, { env: byUser })).status).toBe(200)
    expectRefusal(await door.look(user, asker.userCode, { env: byUser }), 429)

    const shared = { env: withLimiter(1), headers: { 'CF-Connecting-IP': freshIp() } }
    expectRefusal(await door.look(await makeCheapUser(), 'BCDF-GHJK', shared), 404)
    expectRefusal(await door.look(await makeCheapUser(), asker.userCode, shared), 429)
  })

  it('is told nothing when their account is disabled', async () => {
    const { user, asker } = await setUp()
    await execute('update users set disabled_at = 1 where id = ?', user.id)
    expectRefusal(await door.look(user, asker.userCode), 401)
  })
})

describe.each(DOORS)('whoever answers a claim at %s', (_, door) => {
  it('approves it with the scopes that they leave, or denies it', async () => {
    const { user, asker } = await setUp()
    expect((await (await door.open(user, asker))(asker.userCode, APPROVE)).status).toBe(200)
    expect(await poll(asker)).toMatchObject({ ok: true, value: { scopes: ['a'] } })
    const other = await askForCodes()
    expect((await (await door.open(user, other))(other.userCode, DENY)).status).toBe(200)
    expect(await poll(other)).toEqual({ ok: false, reason: 'access_denied' })
  })

  it('is told 404 for an unknown, a malformed, an approved and a denied code', async () => {
    const { user, asker } = await setUp()
    for (const code of await endedCodes()) {
      expectRefusal(await (await door.open(user, asker))(code, APPROVE), 404)
    }
    expect(await poll(asker)).toEqual(PENDING)
  })

  it('is told 404 at the end of the claim, also when they saw it before', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { user, asker } = await setUp()
    const end = Date.now() + CLAIM_MS
    vi.setSystemTime(end - 1)
    const answering = await door.open(user, asker)
    vi.setSystemTime(end)
    expectRefusal(await answering(asker.userCode, APPROVE), 404)
    expect(await poll(asker)).toEqual({ ok: false, reason: 'expired_token' })
  })

  it('waits when they have answered too often, and the claim waits as well', async () => {
    const { user, asker } = await setUp()
    const [first, second] = [await door.open(user, asker), await door.open(user, asker)]
    const limited = withLimiter(1)
    expectRefusal(await first('BCDF-GHJK', APPROVE, { env: limited }), 404)
    expectRefusal(await second(asker.userCode, APPROVE, { env: limited }), 429)
    expect(await poll(asker)).toEqual(PENDING)
    expect((await second(asker.userCode, APPROVE)).status).toBe(200)
  })

  it('waits when others of their address have answered too often', async () => {
    const { user, asker } = await setUp()
    const neighbour = await door.open(await makeCheapUser(), asker)
    const answering = await door.open(user, asker)
    const shared = { env: withLimiter(1), headers: { 'CF-Connecting-IP': freshIp() } }
    expectRefusal(await neighbour('BCDF-GHJK', APPROVE, shared), 404)
    expectRefusal(await answering(asker.userCode, APPROVE, shared), 429)
    expect(await poll(asker)).toEqual(PENDING)
  })

  it.each([
    ['their account was disabled', 'update users set disabled_at = 1 where id = ?'],
    ['their session was ended', 'update sessions set revoked_at = 1 where user_id = ?'],
  ])('decides nothing when meanwhile %s', async (_, change) => {
    const { user, asker } = await setUp()
    const answering = await door.open(user, asker)
    await execute(change, user.id)
    expectRefusal(await answering(asker.userCode, APPROVE), 401)
    expect(await poll(asker)).toEqual(PENDING)
  })

  it('decides nothing when their access token has expired', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { user, asker } = await setUp()
    const answering = await door.open(user, asker)
    const start = Date.now()
    vi.setSystemTime(start + 900_000)
    expectRefusal(await answering(asker.userCode, APPROVE), 401)
    expect(await poll(asker, start)).toEqual(PENDING)
  })

  it.each([
    { decision: 'maybe' },
    { decision: 'approve', name: '' },
    { decision: 'approve', name: 'x'.repeat(81) },
    { decision: 'approve', name: 'x', scopes: ['a:*:b'] },
    { decision: 'approve', name: 'x', scopes: ['a', 'c'] },
    { decision: 'approve', name: 'x', scopes: ['*'] },
  ])('decides nothing with %j, and may answer again', async (body) => {
    const { user, asker } = await setUp()
    const answering = await door.open(user, asker)
    expect((await answering(asker.userCode, body)).status).toBe(400)
    expect(await poll(asker)).toEqual(PENDING)
    expect((await answering(asker.userCode, DENY)).status).toBe(200)
  })
})

describe('a claim that is answered at both doors at once', () => {
  it('stands as the first decided it; the other is told 404', async () => {
    const { user, asker } = await setUp()
    const [json, page] = await Promise.all(
      DOORS.map(async ([, door]) => await door.open(user, asker)),
    )
    const answers = await Promise.all([
      json?.(asker.userCode, APPROVE),
      page?.(asker.userCode, DENY),
    ])
    expect(tally(answers.map((given) => String(given?.status)))).toEqual({ 200: 1, 404: 1 })
  })
})

describe('the answers on the page', () => {
  it('are limited to 10 a minute by the real limiter, with the sign-in before them', async () => {
    const { user, asker } = await setUp()
    const shown = await signInOnPage(user, asker)
    for (let attempt = 2; attempt <= 10; attempt += 1) {
      expect((await answer(shown, { decision: 'maybe' })).status).toBe(400)
    }
    expectRefusal(await answer(shown, { decision: 'deny' }), 429)
    expect(await poll(asker)).toEqual(PENDING)
  })
})

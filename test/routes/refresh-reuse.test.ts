import { env } from 'cloudflare:workers'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { makeRefreshToken } from '../../src/crypto/secrets.ts'
import { refreshSession } from '../../src/services/sessions/refresh-session.ts'
import { loadSettings } from '../../src/settings.ts'
import { countStatements } from '../support/counting.ts'
import { withRace } from '../support/databases.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { contextAt } from '../support/isolates.ts'
import { Lineage } from '../support/refresh-lineage.ts'
import { expectAlive, expectToEnd, MINUTE_MS, setClock, START } from '../support/refreshing.ts'
import { countRows, execute } from '../support/rows.ts'
import { makeCheapUser, nextOf, openSession, refresh } from '../support/sign-in.ts'

let user: TestUser
let first: string

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  setClock(0)
  user = await makeCheapUser()
  first = await openSession(user)
})

afterEach(() => {
  vi.useRealTimers()
})

describe('a tab that comes with a refresh token whose successor was used', () => {
  it.each([0, 30_000, 59_999])(
    'gets that successor once more within 60 s of its use, begun %d ms into a minute',
    async (phase) => {
      setClock(phase)
      const second = await nextOf(first)
      setClock(phase + 59_999)
      const third = await nextOf(second)
      setClock(phase + 119_998)
      expect(await nextOf(first)).toBe(second)
      expect(await nextOf(second)).toBe(third)
      await expectAlive(user, third)
    },
  )

  it('ends the session 60 s after that use', async () => {
    const second = await nextOf(first)
    setClock(1)
    const third = await nextOf(second)
    setClock(1 + MINUTE_MS)
    await expectToEnd(user, first, third)
  })

  it('ends the session at once if the successor of that successor was used as well', async () => {
    const fourth = await nextOf(await nextOf(await nextOf(first)))
    await expectToEnd(user, first, fourth)
  })
})

describe('a stolen refresh token', () => {
  it('of which the thief is first ends the session at the call after the owner came', async () => {
    const thiefs = await nextOf(first)
    setClock(5 * MINUTE_MS)
    const owners = await nextOf(first)
    setClock(15 * MINUTE_MS)
    await expectToEnd(user, thiefs, owners)
  })

  it('of which the owner is first ends the session at the call after the thief came', async () => {
    const owners = await nextOf(first)
    setClock(5 * MINUTE_MS)
    const thiefs = await nextOf(first)
    setClock(15 * MINUTE_MS)
    await expectToEnd(user, owners, thiefs)
  })

  it('that comes after the owner used its successor ends the session at once', async () => {
    const second = await nextOf(first)
    setClock(15 * MINUTE_MS)
    const third = await nextOf(second)
    await expectToEnd(user, first, third)
  })
})

describe('a refresh token of a disabled owner', () => {
  it('is no reuse, however old it is, and its session goes on afterwards', async () => {
    const third = await nextOf(await nextOf(first))
    const fourth = await nextOf(third)
    await execute('update users set disabled_at = 1 where id = ?', user.id)
    for (const token of [fourth, third, first]) {
      expectProblem(await refresh(token), 401, 'disabled')
      setClock(2 * MINUTE_MS)
    }
    await execute('update users set disabled_at = null where id = ?', user.id)
    await expectAlive(user, fourth)
  })
})

describe('the cost of a refresh', () => {
  it('is one batch of five statements, whatever the token was, and a read for a no', async () => {
    let batches = 0
    const counting = withRace(() => {
      batches += 1
      return Promise.resolve()
    })
    const { database, statements } = countStatements(counting.DB)
    const costOf = async (token: string): Promise<readonly number[]> => {
      batches = 0
      statements.length = 0
      const { status } = await refresh(token, { ...env, DB: database })
      return [status, batches, statements.length]
    }
    expect(await costOf(first)).toEqual([201, 1, 5])
    expect(await costOf(first)).toEqual([201, 1, 5])
    const second = await nextOf(first)
    expect(await costOf(second)).toEqual([201, 1, 5])
    expect(await costOf(first)).toEqual([201, 1, 5])
    setClock(3 * MINUTE_MS)
    expect(await costOf(second)).toEqual([201, 1, 5])
    expect(await costOf(first)).toEqual([401, 1, 6])
  })
})

const STEPS = fc.array(
  fc.record({
    /** How many milliseconds pass before the token is presented. */
    wait: fc.oneof(
      fc.constantFrom(0, 1, 59_999, 60_000, 60_001, 119_999, 900_000),
      fc.integer({ min: 0, max: 130_000 }),
    ),
    /** Which token: 0 for the newest that was handed out, 1 for the one before it. */
    age: fc.constantFrom(0, 0, 0, 1, 1, 1, 2, 2, 3, 4),
  }),
  { minLength: 1, maxLength: 12 },
)

describe('a session', () => {
  it('answers any sequence of its refresh tokens as a model of it does', async () => {
    const { checkSecrets } = loadSettings(env)
    const actor = { type: 'visitor', userId: null } as const
    await fc.assert(
      fc.asyncProperty(STEPS, fc.integer({ min: 0, max: 59_999 }), async (steps, phase) => {
        const { id, sessionId } = await makeUser()
        const { token, hash } = await makeRefreshToken(sessionId, checkSecrets)
        await execute('update sessions set refresh_hash = ? where id = ?', hash, sessionId)
        const tokens = [token]
        const model = new Lineage()
        let now = START + phase
        for (const { wait, age } of steps) {
          now += wait
          const index = Math.max(0, tokens.length - 1 - age)
          const expected = model.present(index, now)
          const ctx = { ...contextAt(now), actor, ip: null, requestId: null }
          const answer = await refreshSession(ctx, tokens[index] ?? '')
          expect(answer.ok).toBe(expected !== undefined)
          if (!answer.ok || expected === undefined) continue
          // A new token is one that was never handed out before.
          if (expected === tokens.length && !tokens.includes(answer.value.refreshToken)) {
            tokens.push(answer.value.refreshToken)
          }
          expect(tokens.indexOf(answer.value.refreshToken)).toBe(expected)
        }
        const reuses = "user_id = ? and action = 'session.reuse_detected'"
        expect(await countRows('audit_events', reuses, id)).toBe(model.ended ? 1 : 0)
      }),
      { numRuns: 40 },
    )
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { pick } from '../support/client.ts'
import { withLostAnswers } from '../support/databases.ts'
import { expectProblem } from '../support/expectations.ts'
import type { TestUser } from '../support/fixtures.ts'
import { dumpDatabase } from '../support/rows.ts'
import { expectAlive, expectToEnd, MINUTE_MS, setClock, START } from '../support/refreshing.ts'
import { actionsOf, makeCheapUser, nextOf, openSession, refresh } from '../support/sign-in.ts'
import { claimsOf } from '../support/tokens.ts'

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

describe('a refresh token that is presented again', () => {
  it.each([2, 20])('yields one successor to %d requests at once', async (count) => {
    const requests = Array.from({ length: count }, async () => await nextOf(first))
    const successors = new Set(await Promise.all(requests))
    expect(successors.size).toBe(1)
    await expectAlive(user, [...successors].join())
  })

  it('yields the same successor for 60 s, and each time a new access token', async () => {
    const second = await nextOf(first)
    for (const wait of [1, 1000, MINUTE_MS - 1]) {
      setClock(wait)
      const { body } = await refresh(first)
      expect(pick(body, 'refresh_token')).toBe(second)
      const issuedAt = Math.floor((START + wait) / 1000)
      expect(claimsOf(pick(body, 'access_token'))).toMatchObject({ iat: issuedAt })
    }
    await expectAlive(user, second)
  })

  it('yields another successor after 60 s, and the replaced one ends the session', async () => {
    const second = await nextOf(first)
    setClock(MINUTE_MS)
    const other = await nextOf(first)
    expect(other).not.toBe(second)
    expect(await nextOf(first)).toBe(other)
    await expectToEnd(user, second, other)
  })

  it('yields one new successor to 20 requests at once after 60 s', async () => {
    const second = await nextOf(first)
    setClock(MINUTE_MS)
    const requests = Array.from({ length: 20 }, async () => await nextOf(first))
    const successors = new Set(await Promise.all(requests))
    expect(successors.size).toBe(1)
    expect(successors).not.toContain(second)
    await expectAlive(user, [...successors].join())
  })

  it('keeps the session alive when ten answers are lost over seven minutes', async () => {
    for (let lost = 0; lost < 10; lost += 1) {
      setClock(lost * 42_000)
      expectProblem(await refresh(first, withLostAnswers()), 503, 'unavailable')
    }
    setClock(7 * MINUTE_MS)
    await expectAlive(user, await nextOf(first))
  })

  it('keeps the session from expiring after 29 days, whenever its successor was made', async () => {
    await nextOf(first)
    setClock(29 * 24 * 60 * MINUTE_MS)
    const other = await nextOf(first)
    setClock(58 * 24 * 60 * MINUTE_MS)
    await expectAlive(user, other)
  })

  it.each([
    ['the next minute has begun', 59_900, 60_100],
    ['60 s have nearly passed', 59_900, 119_899],
    ['the clock has stepped a minute back', 60_100, 100],
    ['the clock has stepped a minute back over a boundary', 60_000, 0],
  ])('yields the same successor when %s', async (_, before, after) => {
    setClock(before)
    const second = await nextOf(first)
    setClock(after)
    expect(await nextOf(first)).toBe(second)
    await expectAlive(user, second)
  })

  it('yields another successor when the clock has stepped ten minutes back', async () => {
    setClock(10 * MINUTE_MS)
    const second = await nextOf(first)
    setClock(0)
    const other = await nextOf(first)
    expect(other).not.toBe(second)
    await expectAlive(user, other)
  })

  it('yields the same successor after another check secret has become active', async () => {
    const { newFirst, oldFirst } = withCheckSecrets()
    const second = await nextOf(first)
    setClock(30_000)
    expect(await nextOf(first, newFirst)).toBe(second)
    const third = await nextOf(second, newFirst)
    // A late tab, and an isolate that has the old order of the secrets still.
    expect(await nextOf(first, newFirst)).toBe(second)
    expect(await nextOf(second, oldFirst)).toBe(third)
    setClock(2 * MINUTE_MS)
    const other = await nextOf(second, newFirst)
    expect(other).not.toBe(third)
    await nextOf(await nextOf(other, newFirst), newFirst)
    expect(await actionsOf(user)).toEqual(['session.created'])
  })

  it('yields nothing that the database holds', async () => {
    const second = await nextOf(first)
    const dump = await dumpDatabase()
    for (const token of [first, second]) expect(dump).not.toContain(token.slice(30, 62))
  })
})

/** The tests' environment with another check secret before its own, and after it. */
function withCheckSecrets() {
  const listed: unknown = JSON.parse(env.KEY_CHECK_SECRETS)
  if (!Array.isArray(listed)) throw new Error('no list')
  const added = { id: 'new', key: Buffer.alloc(32, 7).toString('base64url') }
  return {
    newFirst: { ...env, KEY_CHECK_SECRETS: JSON.stringify([added, ...listed]) },
    oldFirst: { ...env, KEY_CHECK_SECRETS: JSON.stringify([...listed, added]) },
  }
}

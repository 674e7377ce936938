import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { answerClaim, askForCodes, postForm } from '../support/claims.ts'
import { type Answer, call } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { countStatuses } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { atOnce } from '../support/limits.ts'
import { expectOAuthError } from '../support/oauth.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'

const PATH = '/oauth/device_authorization'

afterEach(() => {
  vi.useRealTimers()
})

/** Asks where at most three claims may wait. */
async function ask(): Promise<Answer> {
  const few: Env = { ...env, CLAIM_MAX_PENDING: '3' }
  return await postForm(PATH, { client_id: 'acme' }, { env: few })
}

function expectFull(answer: Answer): void {
  expectOAuthError(answer, 429, 'temporarily_unavailable')
  expect(answer.headers.get('retry-after')).toBe('60')
}

describe('CLAIM_MAX_PENDING', () => {
  it('is how many claims may wait, asked for from however many networks', async () => {
    await execute('delete from device_claims')
    expect(countStatuses(await atOnce(20, ask))).toEqual({ 200: 3, 429: 17 })
    expect(await countRows('device_claims', 'true')).toBe(3)
    expectFull(await ask())
  })

  it('counts neither a claim that was decided nor one that has expired', async () => {
    await execute('delete from device_claims')
    const [approved, denied] = [await askForCodes(), await askForCodes()]
    await askForCodes()
    expectFull(await ask())
    const user = await makeUser()
    await answerClaim(user, approved)
    await answerClaim(user, denied, { decision: 'deny' })
    expect(countStatuses(await atOnce(3, ask))).toEqual({ 200: 2, 429: 1 })
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 600_000 })
    expect(countStatuses(await atOnce(4, ask))).toEqual({ 200: 3, 429: 1 })
  })

  it('leaves the claims that wait to be answered and polled', async () => {
    await execute('delete from device_claims')
    const asker = await askForCodes()
    await atOnce(3, ask)
    const { token } = await makeUser()
    expect((await call('GET', `/v1/claims/${asker.userCode}`, { token })).status).toBe(200)
  })

  it('is counted by the insert itself, in the index of waiting claims', async () => {
    const { statements, database } = countStatements(env.DB)
    await askForCodes({}, { env: { ...env, DB: database } })
    const [insert = ''] = statements
    expect(statements).toHaveLength(1)
    const values = Array.from(insert.matchAll(/\?/g), () => null)
    // Without quotation marks: the check of all plans would take it for the application's own.
    const unquoted = insert.replaceAll('"', '')
    const plan = await rowsOf(`explain query plan ${unquoted}`, ...values)
    const steps = plan.map(({ detail }) => String(detail)).join('; ')
    expect(steps).toContain('USING INDEX device_claims_pending (expires_at>?)')
  })
})

/** Scopes of that many bytes together. */
const scopesOf = (bytes: number) => `${'a'.repeat(100)} `.repeat(11).slice(0, bytes)

describe('the scopes that a device asks for', () => {
  it('take 1 KiB together, and no more', async () => {
    expect((await postForm(PATH, { client_id: 'acme', scope: scopesOf(1024) })).status).toBe(200)
    const count = await countRows('device_claims', 'true')
    for (const scope of [scopesOf(1025), ' '.repeat(1025), 'é'.repeat(513)]) {
      const answer = await postForm(PATH, { client_id: 'acme', scope })
      expectOAuthError(answer, 400, 'invalid_scope')
    }
    expect(await countRows('device_claims', 'true')).toBe(count)
  })
})

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { answerClaim, askForCodes, type Asker, poll } from '../support/claims.ts'
import { type Answer, call, freshIp, pick } from '../support/client.ts'
import { withRace } from '../support/databases.ts'
import { fakeLimiter } from '../support/environments.ts'
import { expectProblem } from '../support/expectations.ts'
import { PASSWORD, type TestUser } from '../support/fixtures.ts'
import { statusesOf } from '../support/rotations.ts'
import { auditOf, execute } from '../support/rows.ts'
import { actionsOf, cheapHashing, makeCheapUser, refresh, signIn } from '../support/sign-in.ts'
import { claimsOf } from '../support/tokens.ts'

const DENIED = { ok: false, reason: 'access_denied' }

/** Another session of the user's, as a thief may have. */
async function secondSession(user: TestUser) {
  const { body } = await signIn(user)
  const token = pick(body, 'access_token')
  const refreshToken = pick(body, 'refresh_token')
  return { ...user, token, refreshToken, sessionId: String(claimsOf(token)['sid']) }
}

async function approvedBy(user: TestUser): Promise<Asker> {
  const asker = await askForCodes()
  expect((await answerClaim(user, asker)).status).toBe(200)
  return asker
}

async function endSession({ token }: TestUser, id: string): Promise<void> {
  expect((await call('DELETE', `/v1/sessions/${id}`, { token })).status).toBe(204)
}

async function withdraw({ token }: TestUser, userCode: string, environment = env): Promise<Answer> {
  return await call('DELETE', `/v1/claims/${userCode}`, { token, env: environment })
}

async function statusOf({ token }: TestUser, { userCode }: Asker): Promise<string> {
  return pick((await call('GET', `/v1/claims/${userCode}`, { token })).body, 'status')
}

async function isHandedOut(asker: Asker): Promise<boolean> {
  return (await poll(asker)).ok
}

describe('a new password', () => {
  it('withdraws what was approved in whatever session of the account', async () => {
    const user = await makeCheapUser()
    const stranger = await makeCheapUser()
    const thief = await secondSession(user)
    const stolen = await approvedBy(thief)
    const own = await approvedBy(user)
    const foreign = await approvedBy(stranger)
    const body = { current_password: PASSWORD, password: 'another long password' }
    const changed = await call('PATCH', '/v1/me', { token: user.token, body, env: cheapHashing })
    expect(changed.status).toBe(200)
    expect(await poll(stolen)).toEqual(DENIED)
    expect(await poll(own)).toEqual(DENIED)
    expect(await isHandedOut(foreign)).toBe(true)
    expect(await statusOf(user, stolen)).toBe('withdrawn')
  })

  it('that is refused withdraws nothing', async () => {
    const user = await makeCheapUser()
    const asker = await approvedBy(user)
    const body = { current_password: 'wrong', password: 'another long password' }
    const refused = await call('PATCH', '/v1/me', { token: user.token, body })
    expect(refused.status).toBe(403)
    expect(await isHandedOut(asker)).toBe(true)
  })

  it('leaves a secret alone that was handed out before', async () => {
    const user = await makeCheapUser()
    const redeemed = await poll(await approvedBy(user))
    if (!redeemed.ok) throw new Error(redeemed.reason)
    const body = { current_password: PASSWORD, password: 'another long password' }
    await call('PATCH', '/v1/me', { token: user.token, body, env: cheapHashing })
    expect(await statusesOf(redeemed.value.secret)).toEqual([200])
  })
})

describe('a session that ends', () => {
  it('by another session withdraws what it approved, and nothing else', async () => {
    const user = await makeCheapUser()
    const thief = await secondSession(user)
    const stolen = await approvedBy(thief)
    const own = await approvedBy(user)
    await endSession(user, thief.sessionId)
    expect(await poll(stolen)).toEqual(DENIED)
    expect(await isHandedOut(own)).toBe(true)
  })

  it.each(['current', 'its own id'])('by itself withdraws nothing, named by %s', async (name) => {
    const user = await makeCheapUser()
    const asker = await approvedBy(user)
    await endSession(user, name === 'current' ? name : user.sessionId)
    expect(await isHandedOut(asker)).toBe(true)
  })

  it('because a refresh token was used twice withdraws what it approved', async () => {
    const user = await makeCheapUser()
    const thief = await secondSession(user)
    const stolen = await approvedBy(thief)
    const own = await approvedBy(user)
    await refresh(pick((await refresh(thief.refreshToken)).body, 'refresh_token'))
    expect(await isHandedOut(await approvedBy(thief))).toBe(true)
    await execute('update sessions set refreshed_at = 1 where id = ?', thief.sessionId)
    expect((await refresh(thief.refreshToken)).status).toBe(401)
    expect(await actionsOf(user)).toContain('session.reuse_detected')
    expect(await poll(stolen)).toEqual(DENIED)
    expect(await isHandedOut(own)).toBe(true)
  })
})

describe('a claim whose poll has read the approval', () => {
  it('gives nothing if it is withdrawn before the poll commits', async () => {
    const user = await makeCheapUser()
    const asker = await approvedBy(user)
    const { DB: database } = withRace(async () => {
      await execute('update device_claims set denied_at = 1 where approved_by = ?', user.id)
    })
    expect(await poll(asker, Date.now(), { database })).toEqual(DENIED)
  })
})

describe('DELETE /v1/claims/{user_code}', () => {
  it('withdraws what the user approved, says so again, and audits it once', async () => {
    const user = await makeCheapUser()
    const asker = await approvedBy(user)
    for (const code of [asker.userCode, asker.userCode.toLowerCase().replace('-', '')]) {
      const { status, text } = await withdraw(user, code)
      expect([status, text]).toEqual([204, ''])
    }
    expect(await statusOf(user, asker)).toBe('withdrawn')
    expect(await poll(asker)).toEqual(DENIED)
    const [, ...events] = await auditOf(user.id)
    expect(events).toMatchObject([
      {
        action: 'claim.withdrawn',
        actorId: user.id,
        before: { claim_id: expect.stringMatching(/^claim_/), client_id: 'acme-thermo-2' },
      },
    ])
  })

  it('is 404 for what waits, was denied, was handed out, is of another or of nobody', async () => {
    const user = await makeCheapUser()
    const [waiting, denied] = [await askForCodes(), await askForCodes()]
    await answerClaim(user, denied, { decision: 'deny' })
    const spent = await approvedBy(user)
    expect(await isHandedOut(spent)).toBe(true)
    const foreign = await approvedBy(await makeCheapUser())
    for (const { userCode } of [waiting, denied, spent, foreign, { userCode: 'BCDF-GHJK' }]) {
      expectProblem(await withdraw(user, userCode), 404, 'not_found')
    }
    expect(await poll(waiting)).toEqual({ ok: false, reason: 'authorization_pending' })
    expect(await isHandedOut(foreign)).toBe(true)
  })

  it('either is in time, and the poll gets nothing, or is 404', async () => {
    const user = await makeCheapUser()
    for (let round = 0; round < 5; round += 1) {
      const asker = await approvedBy(user)
      const open = { ...env, CLAIM_LIMITER_USER: fakeLimiter(99) }
      const [handedOut, answer] = await Promise.all([
        isHandedOut(asker),
        withdraw(user, asker.userCode, open),
      ])
      expect(answer.status).toBe(handedOut ? 404 : 204)
    }
  })

  it('is 204 for each of some at once, and one event', async () => {
    const user = await makeCheapUser()
    const { userCode } = await approvedBy(user)
    const answers = await Promise.all([1, 2, 3].map(async () => await withdraw(user, userCode)))
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204])
    expect(await actionsOf(user)).toEqual(['claim.approved', 'claim.withdrawn'])
  })

  it('RFC 8628 §5.1: is charged as an attempt at a code, by user and by address', async () => {
    const user = await makeCheapUser()
    const asker = await approvedBy(user)
    const limiter = fakeLimiter(1)
    const limited = { ...env, CLAIM_LIMITER_USER: limiter }
    expectProblem(await withdraw(user, 'BCDF-GHJK', limited), 404, 'not_found')
    expectProblem(await withdraw(user, asker.userCode, limited), 429, 'rate_limited')
    const headers = { 'CF-Connecting-IP': freshIp() }
    await call('DELETE', '/v1/claims/x', { token: user.token, headers, env: limited })
    expect(limiter.charged).toContain(headers['CF-Connecting-IP'])
    expect(await isHandedOut(asker)).toBe(true)
  })
})

describe('an account that is disabled', () => {
  it('has its approvals withdrawn by whatever statement did it, also once it is enabled again', async () => {
    const user = await makeCheapUser()
    const other = await makeCheapUser()
    const asker = await approvedBy(user)
    const foreign = await approvedBy(other)
    await execute('update users set disabled_at = 1 where id = ?', user.id)
    await execute('update users set disabled_at = null where id = ?', user.id)
    expect(await poll(asker)).toEqual(DENIED)
    expect(await statusOf(user, asker)).toBe('withdrawn')
    expect(await isHandedOut(foreign)).toBe(true)
  })
})

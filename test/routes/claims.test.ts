import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { type Answer, call, freshIp } from '../support/client.ts'
import { answerClaim, askForCodes, type Asker } from '../support/claims.ts'
import { fakeLimiter } from '../support/environments.ts'
import { countStatuses, expectProblem, TIME, withoutInstance } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { auditOf, countRows } from '../support/rows.ts'

afterEach(() => {
  vi.useRealTimers()
})

async function look(user: TestUser, userCode: string, options = {}): Promise<Answer> {
  return await call('GET', `/v1/claims/${userCode}`, { token: user.token, ...options })
}

async function setUp(fields: Readonly<Record<string, string>> = {}) {
  return { user: await makeUser(), asker: await askForCodes(fields) }
}

describe('GET /v1/claims/{user_code}', () => {
  it('shows what is asked for, by whom as far as is known, and until when', async () => {
    const user = await makeUser()
    const headers = { 'CF-Connecting-IP': '192.0.2.1' }
    const fields = { scope: 'telemetry:*', device_name: 'Boiler' }
    const { userCode } = await askForCodes(fields, { headers })
    const answer = await look(user, userCode)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual({
      user_code: userCode,
      status: 'pending',
      client_id: 'acme-thermo-2',
      device_name: 'Boiler',
      scopes: ['telemetry:*'],
      ip: '192.0.2.1',
      country: null,
      created_at: TIME,
      expires_at: TIME,
    })
  })

  it('RFC 8628 §6.1: takes the code in any case, with or without its dash', async () => {
    const { user, asker } = await setUp()
    for (const typed of [
      asker.userCode.toLowerCase(),
      asker.userCode.replace('-', ''),
      asker.userCode.replace('-', '%20'),
    ]) {
      expect((await look(user, typed)).body).toMatchObject({ user_code: asker.userCode })
    }
  })

  it('is the same 404 for an unknown, a malformed, a decided and an expired code', async () => {
    const { user, asker } = await setUp()
    const denied = await askForCodes()
    await answerClaim(await makeUser(), asker)
    await answerClaim(await makeUser(), denied, { decision: 'deny' })
    const expiring = await askForCodes()
    const bodies = new Set<string>()
    const codes = ['BCDF-GHJK', 'nonsense', '%00', asker.userCode, denied.userCode]
    for (const code of codes) {
      const answer = await look(user, code)
      expectProblem(answer, 404, 'not_found')
      bodies.add(JSON.stringify(withoutInstance(answer.body)))
    }
    expect((await look(user, expiring.userCode)).status).toBe(200)
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(Date.now() + 600_000)
    const expired = await look(user, expiring.userCode)
    bodies.add(JSON.stringify(withoutInstance(expired.body)))
    expect(bodies.size).toBe(1)
    const late = await answerClaim(user, expiring)
    expectProblem(late, 404, 'not_found')
  })

  it('RFC 8628 §5.1: limits attempts by address and by user, answers too', async () => {
    const limiter = fakeLimiter(2)
    const limited = { ...env, CLAIM_LIMITER_USER: limiter }
    const { user, asker } = await setUp()
    const headers = { 'CF-Connecting-IP': freshIp() }
    const options = { env: limited, headers }
    await look(user, 'BCDF-GHJK', options)
    await look(await makeUser(), 'BCDF-GHJK', options)
    expectProblem(await look(await makeUser(), asker.userCode, options), 429, 'rate_limited')
    await look(user, 'BCDF-GHJK', { env: limited })
    const refused = await call('POST', `/v1/claims/${asker.userCode}`, {
      token: user.token,
      body: { decision: 'approve' },
      env: limited,
    })
    expectProblem(refused, 429, 'rate_limited')
    expect((await look(user, asker.userCode)).status).toBe(200)
  })

  it('is limited to 10 a minute by the real limiter', async () => {
    const user = await makeUser()
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      expect((await look(user, 'BCDF-GHJK')).status).toBe(404)
    }
    expectProblem(await look(user, 'BCDF-GHJK'), 429, 'rate_limited')
  })
})

describe('POST /v1/claims/{user_code}', () => {
  it('approves as asked, makes nothing yet, and says so in the audit', async () => {
    const { user, asker } = await setUp({ scope: 'a:* b', device_name: 'Boiler' })
    const answer = await answerClaim(user, asker)
    expect([answer.status, answer.body]).toEqual([
      200,
      expect.objectContaining({
        user_code: asker.userCode,
        status: 'approved',
        granted: { name: 'Boiler', scopes: ['a:*', 'b'], device_id: null },
      }),
    ])
    expect(await countRows('devices', 'user_id = ?', user.id)).toBe(0)
    expect(await auditOf(user.id)).toMatchObject([
      {
        action: 'claim.approved',
        actorId: user.id,
        after: {
          claim_id: expect.stringMatching(/^claim_/),
          client_id: 'acme-thermo-2',
          name: 'Boiler',
          scopes: ['a:*', 'b'],
        },
      },
    ])
  })

  it('denies, once and for all', async () => {
    const { user, asker } = await setUp({ scope: 'a' })
    const answer = await answerClaim(user, asker, { decision: 'deny' })
    expect(answer.body).toMatchObject({ status: 'denied', granted: null })
    expect(await auditOf(user.id)).toMatchObject([{ action: 'claim.denied' }])
    expectProblem(await answerClaim(user, asker), 404, 'not_found')
  })

  it('narrows scopes, and never widens what was asked for', async () => {
    const { user, asker } = await setUp({ scope: 'telemetry:* config:read' })
    for (const scopes of [
      ['*'],
      ['telemetry'],
      ['telemetry:a', 'x'],
      ['config:*'],
      ['keys:verify'],
    ]) {
      const widened = await answerClaim(user, asker, { decision: 'approve', scopes })
      expectProblem(widened, 400, 'invalid_request', ['/scopes'])
    }
    const narrowed = { decision: 'approve', scopes: ['telemetry:write', 'telemetry:a:*'] }
    const answer = await answerClaim(user, asker, narrowed)
    expect(answer.body).toMatchObject({ granted: { scopes: narrowed.scopes } })
  })

  it('gives any scopes where none was asked for, and none where none is given', async () => {
    const { user, asker } = await setUp()
    const chosen = await answerClaim(user, asker, { decision: 'approve', scopes: ['a:*'] })
    expect(chosen.body).toMatchObject({ granted: { scopes: ['a:*'] } })
    const plain = await answerClaim(user, await askForCodes())
    expect(plain.body).toMatchObject({ granted: { scopes: [], name: 'acme-thermo-2' } })
  })

  it.each([
    [{}, ['/decision']],
    [{ decision: 'maybe' }, ['/decision']],
    [{ decision: 'deny', name: 'x' }, ['/name']],
    [{ decision: 'approve', name: '' }, ['/name']],
    [{ decision: 'approve', scopes: ['a b'] }, ['/scopes/0']],
    [{ decision: 'approve', key: { scopes: ['a'] } }, ['/key/scopes']],
    [{ decision: 'approve', key: { expires_in: 0 } }, ['/key/expires_in']],
    [{ decision: 'approve', device_id: '' }, ['/device_id']],
    [{ decision: 'approve', name: 'x', device_id: 'dev_x' }, ['/device_id']],
    [[], ['']],
  ])('400 for %j', async (body, pointers) => {
    const { user, asker } = await setUp()
    const answer = await call('POST', `/v1/claims/${asker.userCode}`, { token: user.token, body })
    expectProblem(answer, 400, 'invalid_request', pointers)
    expect((await look(user, asker.userCode)).status).toBe(200)
  })

  it("404 for another user's device and for none, and the claim still waits", async () => {
    const { user, asker } = await setUp()
    const foreign = await makeDevice(await makeUser())
    for (const id of [foreign.id, newId('dev')]) {
      const answer = await answerClaim(user, asker, { decision: 'approve', device_id: id })
      expectProblem(answer, 404, 'not_found')
    }
    expect(await auditOf(user.id)).toEqual([])
    const own = await makeDevice(user)
    const answer = await answerClaim(user, asker, { decision: 'approve', device_id: own.id })
    expect(answer.body).toMatchObject({ granted: { name: null, device_id: own.id } })
  })

  it('of 20 decisions at once, by two users, the first stands', async () => {
    const asker: Asker = await askForCodes()
    const deciders = [await makeUser(), await makeUser()]
    const open = { limit: () => Promise.resolve({ success: true }) }
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const { token = '' } = deciders[index % 2] ?? {}
        const body = { decision: index % 3 === 0 ? 'deny' : 'approve' }
        const options = { token, body, env: { ...env, CLAIM_LIMITER_USER: open } }
        return await call('POST', `/v1/claims/${asker.userCode}`, options)
      }),
    )
    expect(countStatuses(answers)).toEqual({ 200: 1, 404: 19 })
    const audits = await Promise.all(deciders.map(async ({ id }) => await auditOf(id)))
    expect(audits.flat()).toHaveLength(1)
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { makeRefreshToken } from '../../src/crypto/secrets.ts'
import { loadSettings } from '../../src/settings.ts'
import { call, pick } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeCheapUser, refresh, signIn, TOKENS } from '../support/sign-in.ts'

const DAY_MS = 86_400_000

afterEach(() => {
  vi.useRealTimers()
})

describe('POST /v1/sessions/refresh', () => {
  it('rotates: the new pair works', async () => {
    const user = await makeCheapUser()
    const first = pick((await signIn(user)).body, 'refresh_token')
    const answer = await refresh(first)
    expect(answer.status).toBe(201)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual(TOKENS)
    const second = pick(answer.body, 'refresh_token')
    expect(second).not.toBe(first)
    const token = pick(answer.body, 'access_token')
    expect((await call('GET', '/v1/me', { token })).status).toBe(200)
    expect((await refresh(second)).status).toBe(201)
  })

  it('refuses a made-up token without asking D1', async () => {
    const { database, statements } = countStatements(env.DB)
    const user = await makeCheapUser()
    const good = pick((await signIn(user)).body, 'refresh_token')
    const forged = good.slice(0, -1) + (good.endsWith('0') ? '1' : '0')
    for (const refreshToken of [forged, good.slice(0, -1), `${good}0`, '', 'lkr_', user.token]) {
      const answer = await refresh(refreshToken, { ...env, DB: database })
      expectProblem(answer, 401, 'invalid_credential')
    }
    expect(statements).toEqual([])
    expect((await refresh(good)).status).toBe(201)
  })

  it('refuses a genuine token of no session', async () => {
    const { checkSecrets } = loadSettings(env)
    const { token } = await makeRefreshToken(newId('sess'), checkSecrets)
    expectProblem(await refresh(token), 401, 'revoked')
  })

  it('expires after 30 idle days', async () => {
    const user = await makeCheapUser()
    vi.useFakeTimers({ toFake: ['Date'] })
    const start = Date.now()
    const first = pick((await signIn(user)).body, 'refresh_token')
    vi.setSystemTime(start + 30 * DAY_MS - 1)
    const { status, body } = await refresh(first)
    expect(status).toBe(201)
    vi.setSystemTime(start + 60 * DAY_MS - 1)
    expectProblem(await refresh(pick(body, 'refresh_token')), 401, 'expired')
    const token = pick(body, 'access_token')
    expectProblem(await call('GET', '/v1/me', { token }), 401, 'expired')
  })

  it('expires 90 days after sign-in, however busy', async () => {
    const user = await makeCheapUser()
    vi.useFakeTimers({ toFake: ['Date'] })
    const start = Date.now()
    let token = pick((await signIn(user)).body, 'refresh_token')
    let access = ''
    for (const day of [25, 50, 75, 90 - 1 / 86_400_000]) {
      vi.setSystemTime(start + Math.floor(day * DAY_MS))
      const { status, body } = await refresh(token)
      expect(status).toBe(201)
      token = pick(body, 'refresh_token')
      access = pick(body, 'access_token')
    }
    expect((await call('GET', '/v1/me', { token: access })).status).toBe(200)
    vi.setSystemTime(start + 90 * DAY_MS)
    expectProblem(await refresh(token), 401, 'expired')
    expectProblem(await call('GET', '/v1/me', { token: access }), 401, 'expired')
  })

  it.each([
    [{}, ['/refresh_token']],
    [{ refresh_token: null }, ['/refresh_token']],
    [{ refresh_token: 'lkr_', scope: 'x' }, ['/scope']],
  ])('400 for %j', async (body, pointers) => {
    const answer = await call('POST', '/v1/sessions/refresh', { body })
    expectProblem(answer, 400, 'invalid_request', pointers)
  })
})

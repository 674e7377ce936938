import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { call, freshIp } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { endOutage, withFailingDatabase, withFailingDeviceStates } from '../support/environments.ts'
import { expectProblem } from '../support/expectations.ts'
import { DOOR, expectNoIdentity, PATH, setUp } from '../support/forward-auth.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

describe('a URL that asks for what cannot be checked lets nobody in', () => {
  it.each([
    'scope=',
    'scope',
    'scope=telemetry:*',
    'scope=a,b',
    'scope=a+b',
    'scope=%ff',
    'scope=a&scope=',
    `scope=${'x'.repeat(129)}`,
    Array.from({ length: 65 }, () => 'scope=a').join('&'),
    'scopes=a',
    'Scope=a',
    '__proto__=a',
    'owner=',
    'owner=Any',
    'owner=any&owner=any',
    `owner=any&owner=${newId('user')}`,
    `owner=${newId('user')},any`,
    'owner=ada',
    `owner=${newId('dev')}`,
    `owner=${newId('user')}&owner=${newId('user')}`,
    'fresh=true',
    '=',
  ])('%s', async (query) => {
    const { device } = await setUp({ scopes: ['*'] })
    const separate = query.includes('owner=') ? '' : 'owner=any&'
    const answer = await call('GET', `${DOOR}?${separate}${query}`, { token: device.secret })
    expectProblem(answer, 403, 'misconfigured_proxy')
    expectNoIdentity(answer)
  })

  it.each(['', '?', '?scope=telemetry:write', '?Owner=any'])(
    '%j says nothing of an owner, and the answer tells what to write',
    async (query) => {
      const { device } = await setUp({ scopes: ['*'] })
      for (const token of [device.secret, 'lk_bad', undefined]) {
        const options = token === undefined ? {} : { token }
        const answer = await call('GET', `${DOOR}${query}`, options)
        expectProblem(answer, 403, 'misconfigured_proxy')
        expectNoIdentity(answer)
        if (query.startsWith('?O')) continue
        for (const form of ['owner=user_…', 'owner=any']) {
          expect(answer.body).toMatchObject({ detail: expect.stringContaining(form) })
        }
      }
    },
  )

  it('and says so in the log, once a second however often it is asked', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 })
    const lines = captureConsole()
    for (let request = 0; request < 5; request += 1) await call('GET', `${PATH}&scop=a`)
    vi.useRealTimers()
    expect(eventsOf(lines, 'forward-auth-misconfigured')).toHaveLength(1)
  })
})

describe('a limited key', () => {
  it('passes until it is over its limit; then 429 says when to come back', async () => {
    const rate_limit = { limit: 2, window_seconds: 60 }
    const { device } = await setUp({ rate_limit, quota: { limit: 100, period: 'total' } })
    const first = await call('GET', PATH, { token: device.secret })
    expect(first.status).toBe(204)
    expect(first.headers.get('ratelimit-policy')).toBe('"rate";q=2;w=60, "quota";q=100')
    expect(first.headers.get('ratelimit')).toMatch(/^"rate";r=1;t=\d+, "quota";r=99$/)
    expect((await call('HEAD', PATH, { token: device.secret })).status).toBe(204)

    const over = await call('GET', PATH, { token: device.secret })
    expect(over.status).toBe(429)
    expect(over.body).toMatchObject({ code: 'rate_limited', limit: 2, remaining: 0 })
    expect(over.headers.get('retry-after')).toMatch(/^([1-9]|[1-5]\d|60)$/)
    expect(over.headers.get('ratelimit')).toMatch(/^"rate";r=0;/)
    expectNoIdentity(over)
  })

  it('is not charged for what its scopes or the URL refuse', async () => {
    const { device } = await setUp({ rate_limit: { limit: 1, window_seconds: 3600 } })
    for (const query of ['scope=other', 'scope=*']) {
      const answer = await call('GET', `${PATH}&${query}`, { token: device.secret })
      expect(answer.status).toBe(403)
    }
    expect((await call('GET', PATH, { token: device.secret })).status).toBe(204)
  })

  it('is undecided while its object does not answer: 503', async () => {
    const { device } = await setUp({ rate_limit: { limit: 1, window_seconds: 60 } })
    captureConsole()
    const down = withFailingDeviceStates()
    const answer = await call('GET', PATH, { token: device.secret, env: down })
    expectProblem(answer, 503, 'unavailable')
    expectNoIdentity(answer)
  })
})

describe('while D1 fails', () => {
  it('nothing that is not known already passes, and it is no bad key: 503', async () => {
    const { device } = await setUp()
    captureConsole()
    const down = withFailingDatabase()
    const answer = await call('GET', PATH, { token: device.secret, env: down })
    expectProblem(answer, 503, 'unavailable')
    expectNoIdentity(answer)
    endOutage()
    expect((await call('GET', PATH, { token: device.secret })).status).toBe(204)
  })

  it('an unknown secret still counts against its network where secrets carry no check', async () => {
    const imported = { ...env, ACCEPT_IMPORTED_KEYS: 'true' }
    const headers = { 'CF-Connecting-IP': freshIp(), Authorization: `Bearer ${'f'.repeat(40)}` }
    const statuses = new Set<number>()
    for (let request = 0; request < 60; request += 1) {
      const answer = await call('GET', PATH, { headers, env: imported })
      statuses.add(answer.status)
      if (answer.status === 429) expectProblem(answer, 429, 'rate_limited')
    }
    expect([...statuses]).toEqual([401, 429])
  })
})

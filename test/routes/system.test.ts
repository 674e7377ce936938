import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { PROBLEMS } from '../../src/http/problems.ts'
import { call, ORIGIN } from '../support/client.ts'
import { captureConsole } from '../support/console.ts'
import { countStatements } from '../support/counting.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { expectProblem } from '../support/expectations.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

describe('GET /healthz', () => {
  it('follows D1, at one probe in five seconds', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const start = Date.now() + 60_000
    const { database, statements } = countStatements(env.DB)
    const working = { ...env, DB: database }

    vi.setSystemTime(start)
    for (let probe = 0; probe < 5; probe += 1) {
      const answer = await call('GET', '/healthz', { env: working })
      expect([answer.status, answer.body]).toEqual([200, { status: 'ok' }])
      expect(answer.headers.get('cache-control')).toBe('no-store')
    }
    expect(statements).toHaveLength(1)

    vi.setSystemTime(start + 4999)
    expect((await call('GET', '/healthz', { env: withFailingDatabase() })).status).toBe(200)
    vi.setSystemTime(start + 5000)
    const failing = await call('GET', '/healthz', { env: withFailingDatabase() })
    expectProblem(failing, 503, 'unavailable')
    vi.setSystemTime(start + 10_000)
    expect((await call('GET', '/healthz', { env: working })).status).toBe(200)
  })
})

describe('GET /problems/{code}', () => {
  it.each(Object.keys(PROBLEMS))('explains %s, to everyone and for a while', async (code) => {
    const answer = await call('GET', `/problems/${code}`)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toMatch(/^public, max-age=\d+$/)
    expect(answer.body).toMatchObject({
      type: `${ORIGIN}/problems/${code}`,
      title: expect.stringMatching(/\S/),
      status: expect.any(Number),
      detail: expect.stringMatching(/\S/),
    })
  })

  it.each(['unknown', 'toString', '__proto__', 'NOT-FOUND'])('404 for %s', async (code) => {
    expectProblem(await call('GET', `/problems/${code}`), 404, 'not_found')
  })
})

describe('what is public and static', () => {
  const open = { ...env, CORS_ORIGINS: 'https://app.example' }
  const senders = [{}, { Origin: 'https://app.example' }, { Origin: 'https://evil.example' }]

  it.each([
    '/.well-known/jwks.json',
    '/.well-known/oauth-authorization-server',
    '/problems/not_found',
  ])('%s has the same headers for every origin, whatever CORS_ORIGINS says', async (path) => {
    for (const method of ['GET', 'HEAD']) {
      for (const headers of senders) {
        for (const given of [env, open]) {
          const answer = await call(method, path, { headers, env: given })
          expect(answer.status).toBe(200)
          expect(answer.headers.get('cache-control')).toMatch(/^public, /)
          expect(answer.headers.get('access-control-allow-origin')).toBe('*')
          const others = [...answer.headers.keys()].filter((name) =>
            name.startsWith('access-control-'),
          )
          expect(others).toEqual(['access-control-allow-origin'])
          expect(answer.headers.get('vary')).toBeNull()
        }
      }
    }
  })

  it('an error beside them is neither', async () => {
    const headers = { Origin: 'https://evil.example' }
    const answer = await call('GET', '/problems/no-such-code', { headers, env: open })
    expectProblem(answer, 404, 'not_found')
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
    expect(answer.headers.get('vary')).toBe('Origin')
  })
})

describe('a deployment whose settings are wrong', () => {
  const SECRET = 'hunter2-hunter2'
  const key = Buffer.alloc(32, 7).toString('base64url')

  it.each([
    ['PUBLIC_URL', ''],
    ['PUBLIC_URL', `not a url ${SECRET}`],
    ['PUBLIC_URL', `https://latchkey.example/${SECRET}`],
    ['PUBLIC_URL', `ftp://${SECRET}.example`],
    ['REGISTRATION', SECRET],
    ['KEY_PREFIX', `LK_${SECRET}`],
    ['KEY_CHECK', SECRET],
    ['PASSWORD_HASH', SECRET],
    ['CORS_ORIGINS', `*,${SECRET}`],
    ['CORS_ORIGINS', 'https://app.example/'],
    ['LOG_REQUESTS', SECRET],
    ['SIGNING_KEYS', ''],
    ['SIGNING_KEYS', SECRET],
    ['SIGNING_KEYS', '{"keys":[]}'],
    ['SIGNING_KEYS', JSON.stringify({ keys: [{ kty: 'oct', k: SECRET }] })],
    ['KEY_CHECK_SECRETS', ''],
    ['KEY_CHECK_SECRETS', SECRET],
    ['KEY_CHECK_SECRETS', '[]'],
    ['KEY_CHECK_SECRETS', JSON.stringify([{ id: 'a', key: SECRET }])],
    [
      'KEY_CHECK_SECRETS',
      JSON.stringify([
        { id: 'a', key },
        { id: 'a', key },
      ]),
    ],
  ])('serves nothing and names %s, never its value (%s)', async (name, value) => {
    const lines = captureConsole()
    for (const path of ['/v1/me', '/healthz', '/v1/nothing', '/problems/not_found', '/auth']) {
      const answer = await call('GET', path, { env: { ...env, [name]: value } })
      expect(answer.status).toBe(500)
      expect(answer.headers.get('content-type')).toBe('application/problem+json')
      expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
      expect(answer.body).toMatchObject({
        type: '/problems/misconfigured',
        code: 'misconfigured',
        status: 500,
        detail: expect.stringMatching(new RegExp(`^${name}\\b`)),
        instance: `/requests/${answer.headers.get('x-request-id')}`,
      })
      expect(answer.text + JSON.stringify(lines)).not.toContain('hunter2')
    }
    expect(lines.length).toBeGreaterThan(0)
  })

  it('lets nobody keep that answer', async () => {
    const { headers } = await call('GET', '/v1/me', { env: { ...env, PUBLIC_URL: '' } })
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
  })
})

describe('CORS', () => {
  const origin = 'https://app.example'
  const preflight = {
    Origin: origin,
    'Access-Control-Request-Method': 'PATCH',
    'Access-Control-Request-Headers': 'authorization,content-type',
  }
  const open = { ...env, CORS_ORIGINS: `${origin}, https://other.example` }

  it('is off unless origins are listed', async () => {
    const answer = await call('OPTIONS', '/v1/me', { headers: preflight })
    expectProblem(answer, 405, 'method_not_allowed')
    const { headers } = await call('GET', '/v1/me', { headers: { Origin: origin } })
    for (const name of headers.keys()) expect(name).not.toMatch(/^access-control-/)
  })

  it('answers listed origins, with preflight and errors', async () => {
    const answer = await call('OPTIONS', '/v1/me', { headers: preflight, env: open })
    expect(answer.status).toBe(204)
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
    expect(answer.headers.get('access-control-allow-methods')).toContain('PATCH')
    expect(answer.headers.get('access-control-allow-headers')?.toLowerCase()).toContain(
      'authorization',
    )
    const refused = await call('GET', '/v1/me', { headers: { Origin: origin }, env: open })
    expectProblem(refused, 401, 'missing_credential')
    expect(refused.headers.get('access-control-allow-origin')).toBe(origin)
    expect(refused.headers.get('vary')).toMatch(/origin/i)
    expect(refused.headers.get('access-control-allow-credentials')).toBeNull()
  })

  it('lets pages read the headers that say where, who, how much and how long', async () => {
    const { headers } = await call('GET', '/v1/me', { headers: { Origin: origin }, env: open })
    const exposed = headers.get('access-control-expose-headers')?.split(/, */)
    expect(exposed?.toSorted()).toEqual([
      'Idempotency-Replayed',
      'Location',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'WWW-Authenticate',
      'X-Request-Id',
    ])
  })

  it.each(['https://evil.example', 'https://app.example.evil', 'http://app.example', 'null'])(
    'answers no other origin: %s',
    async (other) => {
      const headers = { ...preflight, Origin: other }
      const answer = await call('OPTIONS', '/v1/me', { headers, env: open })
      expect(answer.headers.get('access-control-allow-origin')).toBeNull()
    },
  )
})

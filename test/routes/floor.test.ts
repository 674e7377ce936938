import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser, setCheapPassword } from '../support/fixtures.ts'
import { basic, expectOAuthError } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { pathOf, routesFor } from '../support/route-table.ts'

const JSON_TYPE = { 'Content-Type': 'application/json' }
const KIB = 1024

describe('what is not there', () => {
  it.each([
    '/',
    '/v1',
    '/v1/nothing',
    '/v1/devices/a/b',
    '/v1/devices/',
    '//v1/me',
    '/V1/me',
    '/%',
  ])('404 for %s', async (path) => {
    expectProblem(await call('GET', path), 404, 'not_found')
  })

  it.each([
    ['PUT', '/v1/devices', 'HEAD, GET, POST'],
    ['DELETE', '/v1/devices', 'HEAD, GET, POST'],
    ['OPTIONS', '/v1/devices', 'HEAD, GET, POST'],
    ['POST', '/v1/devices/dev_x', 'HEAD, GET, PATCH, DELETE'],
    ['POST', '/v1/me', 'HEAD, GET, PATCH, DELETE'],
    ['GET', '/v1/users', 'POST'],
    ['GET', '/v1/sessions/refresh', 'POST, DELETE'],
    ['POST', '/healthz', 'HEAD, GET'],
    ['DELETE', '/problems/not_found', 'HEAD, GET'],
    ['PROPFIND', '/v1/me', 'HEAD, GET, PATCH, DELETE'],
  ])('405 for %s %s, and Allow says what is', async (method, path, allow) => {
    const answer = await call(method, path)
    expectProblem(answer, 405, 'method_not_allowed')
    const allowed = new Set(answer.headers.get('allow')?.split(', '))
    expect(allowed).toEqual(new Set(allow.split(', ')))
  })

  it('405 comes before 401: a wrong method needs no credential to be told', async () => {
    for (const route of routesFor('access token')) {
      if (route.classic !== undefined) continue
      const answer = await call(
        'PUT',
        pathOf(route, () => 'x'),
      )
      expectProblem(answer, 405, 'method_not_allowed')
      expect(answer.headers.get('allow')?.split(', ')).toContain(route.method)
    }
  })
})

async function tokenFor(credential: string): Promise<string> {
  const user = await makeUser()
  if (credential !== 'device secret') return user.token
  const { keyId, secret } = await makeDevice(user)
  // The verifiers' route looks at the scope before the body.
  await execute(`update api_keys set scopes = '["keys:verify"]' where id = ?`, keyId)
  return secret
}

/** A JSON object of so many bytes. */
function bodyOf(bytes: number): string {
  return `{"x":"${'x'.repeat(bytes - 8)}"}`
}

function streamOf(text: string): ReadableStream {
  return new ReadableStream({
    start(controller) {
      const bytes = new TextEncoder().encode(text)
      for (let at = 0; at < bytes.length; at += 10_000) {
        controller.enqueue(bytes.subarray(at, at + 10_000))
      }
      controller.close()
    },
  })
}

describe('a body', () => {
  const routes = routesFor().filter(
    ({ body, classic, form }) => body !== undefined && classic === undefined && form === undefined,
  )

  it.each(routes)('that is no JSON: 400 at $name', async (route) => {
    const token = await tokenFor(route.credential)
    for (const raw of ['{', '{"a":1,}', 'a=b', '\u0000', '{"a":1} {"b":2}']) {
      const answer = await call(
        route.method,
        pathOf(route, () => 'x'),
        {
          token,
          raw,
          headers: JSON_TYPE,
        },
      )
      expectProblem(answer, 400, 'invalid_json')
      expect(answer.text).not.toContain('position')
    }
  })

  it.each(routes)('of another media type: 415 at $name', async (route) => {
    const token = await tokenFor(route.credential)
    for (const type of [
      '',
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/jsonx',
    ]) {
      const answer = await call(
        route.method,
        pathOf(route, () => 'x'),
        {
          token,
          raw: JSON.stringify(route.body),
          headers: { 'Content-Type': type },
        },
      )
      expectProblem(answer, 415, 'unsupported_media_type')
    }
  })

  it.each(routes)('with unknown fields: 400 naming each at $name', async (route) => {
    const token = await tokenFor(route.credential)
    const body = { ...route.body, zeta: 1, 'a/b': 2 }
    const answer = await call(
      route.method,
      pathOf(route, () => 'x'),
      { token, body },
    )
    expectProblem(answer, 400, 'invalid_request', ['/zeta', '/a~1b'])
  })

  it('with 25 faults is told of 20: no answer grows with what is sent', async () => {
    const names = Array.from({ length: 25 }, (_, index) => `unknown-${index}`)
    const unknown = Object.fromEntries(names.map((name) => [name, 1]))
    const pointers = names.slice(0, 20).map((name) => `/${name}`)
    const body = { username: 'someone-new', password: 'a long password', ...unknown }
    const answer = await call('POST', '/v1/users', { body })
    expectProblem(answer, 400, 'invalid_request', pointers)
  })

  it.each(routesFor('client'))('that is no form: 400 in OAuth’s words at $name', async (route) => {
    const { id, secret } = await makeDevice(await makeUser())
    const raw = new URLSearchParams(route.form).toString()
    for (const type of ['', 'text/plain', 'application/json', 'multipart/form-data; boundary=x']) {
      const headers = { ...basic(id, secret), 'Content-Type': type }
      const answer = await call('POST', route.pattern, { raw, headers })
      expectOAuthError(answer, 400, 'invalid_request')
    }
  })

  it.each(['application/json; charset=utf-8', 'application/vnd.api+json'])(
    'may be %s',
    async (type) => {
      const { token } = await makeUser()
      const raw = JSON.stringify({ name: 'x' })
      const headers = { 'Content-Type': type }
      expect((await call('POST', '/v1/devices', { token, raw, headers })).status).toBe(201)
    },
  )

  it('of 64 KiB is read, and of one byte more is not, with and without Content-Length', async () => {
    for (const path of ['/v1/users', '/v1/nothing']) {
      const most = bodyOf(64 * KIB)
      expect(most).toHaveLength(64 * KIB)
      const declared = { ...JSON_TYPE, 'Content-Length': String(64 * KIB + 1) }
      const over = `${most} `
      const fits = path === '/v1/users' ? 400 : 404
      expect((await call('POST', path, { raw: most, headers: JSON_TYPE })).status).toBe(fits)
      expect((await call('POST', path, { raw: streamOf(most), headers: JSON_TYPE })).status).toBe(
        fits,
      )
      const whole = await call('POST', path, { raw: over, headers: declared })
      expectProblem(whole, 413, 'body_too_large')
      const chunked = await call('POST', path, { raw: streamOf(over), headers: JSON_TYPE })
      expectProblem(chunked, 413, 'body_too_large')
    }
  })
})

describe('every response', () => {
  it.each([
    ['abcdefgh', true],
    ['A-b_9'.repeat(12), true],
    ['x'.repeat(64), true],
    ['x'.repeat(65), false],
    ['short', false],
    ['with space', false],
    ['<script>alert(1)</script>', false],
    ['é'.repeat(10), false],
  ])('carries a request id: the presented %s is taken: %s', async (id, isTaken) => {
    const answer = await call('GET', '/v1/nothing', { headers: { 'X-Request-Id': id } })
    const echoed = answer.headers.get('x-request-id') ?? ''
    if (isTaken) expect(echoed).toBe(id)
    else expect(echoed).toMatch(/^[0-9a-f-]{36}$/)
    expect(answer.body).toMatchObject({ instance: `/requests/${echoed}` })
  })

  it('has an id of its own', async () => {
    const ids = await Promise.all(
      [1, 2, 3].map(async () => (await call('GET', '/healthz')).headers.get('x-request-id')),
    )
    expect(new Set(ids).size).toBe(3)
  })

  it('is not sniffed, not stored and, under https, not downgraded', async () => {
    const user = await makeUser()
    await setCheapPassword(user, 'password')
    const { secret } = await makeDevice(user)
    const paths = ['/v1/me', '/v1/devices', '/v1/sessions', '/v1/device', '/v1/nothing', '/healthz']
    for (const path of paths) {
      for (const token of [user.token, secret, undefined]) {
        const { headers } = await call('GET', path, token === undefined ? {} : { token })
        expect(headers.get('x-content-type-options')).toBe('nosniff')
        expect(headers.get('cache-control')).toBe('no-store')
        expect(headers.get('strict-transport-security')).toMatch(/^max-age=\d{7,}/)
        expect(headers.get('access-control-allow-origin')).toBeNull()
      }
    }
    const plain = { ...env, PUBLIC_URL: 'http://localhost:8787' }
    const { headers } = await call('GET', '/v1/nothing', { env: plain })
    expect(headers.get('strict-transport-security')).toBeNull()
  })

  it('to HEAD is that to GET without its body', async () => {
    const { token } = await makeUser()
    for (const [path, status] of [
      ['/v1/me', 200],
      ['/v1/users', 405],
      ['/v1/x', 404],
    ] as const) {
      const answer = await call('HEAD', path, { token })
      expect([answer.status, answer.text]).toEqual([status, ''])
      expect(answer.headers.get('cache-control')).toBe('no-store')
    }
    expect((await call('HEAD', '/v1/me')).status).toBe(401)
  })
})

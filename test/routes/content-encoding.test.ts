import { describe, expect, it } from 'vitest'
import { type Answer, call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { expectOAuthError } from '../support/oauth.ts'
import { type NamedRoute, pathOf, routesFor } from '../support/route-table.ts'

const readingRoutes = routesFor().filter(
  ({ body, form, page, method }) => method !== 'GET' && (body ?? form ?? page) !== undefined,
)

/** Sends the route a body that it takes, under that Content-Encoding, without a credential. */
async function sendEncoded(route: NamedRoute, encoding: string): Promise<Answer> {
  const isForm = route.form !== undefined
  const raw = isForm ? new URLSearchParams(route.form).toString() : JSON.stringify(route.body ?? {})
  const type = isForm ? 'application/x-www-form-urlencoded' : 'application/json'
  const headers = { 'Content-Type': type, 'Content-Encoding': encoding }
  return await call(
    route.method,
    pathOf(route, () => 'x'),
    { raw, headers },
  )
}

function expectRefused(answer: Answer, route: NamedRoute): void {
  expect(answer.status).toBe(415)
  // RFC 9110 §12.5.3: which encodings would have been taken.
  expect(answer.headers.get('accept-encoding')).toBe('identity')
  if (route.page === true) expect(answer.text).toContain('role="alert"')
  else if (route.form !== undefined) expectOAuthError(answer, 415, 'invalid_request')
  else if (route.classic !== undefined) {
    expect(answer.body).toEqual({ message: expect.stringContaining('Content-Encoding') })
  } else {
    expectProblem(answer, 415, 'unsupported_media_type')
    expect(answer.body).toMatchObject({ detail: expect.stringContaining('Content-Encoding') })
  }
}

describe('a body with a Content-Encoding', () => {
  it.each(readingRoutes)('is refused before a credential is looked at: $name', async (route) => {
    for (const encoding of ['gzip', 'br', 'identity, gzip', 'no-such-encoding']) {
      expectRefused(await sendEncoded(route, encoding), route)
    }
  })

  it('that says identity, in whatever case and however often, is read', async () => {
    const { token } = await makeUser()
    for (const encoding of ['identity', 'Identity', 'identity, IDENTITY', '']) {
      const headers = { 'Content-Encoding': encoding }
      const answer = await call('POST', '/v1/devices', { token, body: { name: 'x' }, headers })
      expect([encoding, answer.status]).toEqual([encoding, encoding === 'identity' ? 201 : 409])
    }
  })

  it('is nothing to a route that reads none: a GET, a DELETE without one, a proxy’s question', async () => {
    const user = await makeUser()
    const { id, secret } = await makeDevice(user)
    const headers = { 'Content-Encoding': 'gzip' }
    const asked = await call('POST', '/v1/forward-auth?owner=any', {
      token: secret,
      raw: 'x',
      headers,
    })
    expect(asked.status).toBe(204)
    expect((await call('GET', '/v1/me', { token: user.token, headers })).status).toBe(200)
    const deleted = await call('DELETE', `/v1/devices/${id}`, { token: user.token, headers })
    expect(deleted.status).toBe(204)
  })

  it('leaves the answer to a wrong media type as it was', async () => {
    const answer = await call('POST', '/v1/users', {
      raw: '{}',
      headers: { 'Content-Type': 'text/plain' },
    })
    expectProblem(answer, 415, 'unsupported_media_type')
    expect(answer.body).toMatchObject({ detail: 'Send application/json.' })
    expect(answer.headers.get('accept-encoding')).toBeNull()
  })
})

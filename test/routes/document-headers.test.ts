import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { askForCodes } from '../support/claims.ts'
import { type Answer, call, type CallOptions } from '../support/client.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { basic } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { type NamedRoute, type ParamKind, pathOf, routesFor } from '../support/route-table.ts'

const FORM_TYPE = { 'Content-Type': 'application/x-www-form-urlencoded' }
const TOO_LARGE = { raw: 'x'.repeat(64 * 1024 + 1) }
const OUTAGE = { env: withFailingDatabase() }
const WITHOUT_SETTINGS = { env: { ...env, PUBLIC_URL: '' } }

let user: TestUser
let device: TestDevice
let ids: Record<ParamKind, string>

beforeAll(async () => {
  user = await makeUser()
  device = await makeDevice(user)
  await execute(`update api_keys set scopes = '["keys:verify"]' where id = ?`, device.keyId)
  ids = {
    session: user.sessionId,
    device: device.id,
    key: device.keyId,
    claim: (await askForCodes()).userCode,
    'problem code': 'not_found',
  }
})

/** A call with whatever credential and body the route takes. */
function goodCall({ credential, body, form }: NamedRoute): CallOptions {
  const token = { 'access token': user.token, 'device secret': device.secret }
  const bearer =
    credential === 'access token' || credential === 'device secret'
      ? { token: token[credential] }
      : {}
  if (form === undefined) return { ...bearer, body }
  const client = credential === 'client' ? basic(device.id, device.secret) : {}
  return { raw: new URLSearchParams(form).toString(), headers: { ...FORM_TYPE, ...client } }
}

/** What ASVS 5.0 §3.4 asks of every answer that a browser may open as a document. */
function expectDocumentHeaders({ headers, status }: Answer, { page }: { page?: true }): void {
  const policy = headers.get('content-security-policy')
  if (status === 204) {
    expect([policy, headers.get('referrer-policy')]).toEqual([null, null])
    return
  }
  const isPage = headers.get('content-type')?.startsWith('text/html') ?? false
  if (!isPage) expect(headers.get('content-type')).toMatch(/^application\/([a-z]+\+)?json$/)
  expect({ status, policy }).toEqual({
    status,
    policy: page === true && isPage ? expect.stringContaining('form-action') : DEFAULT_POLICY,
  })
  for (const part of DEFAULT_POLICY.split('; ')) expect(policy).toContain(part)
  expect(headers.get('referrer-policy')).toBe(isPage ? 'same-origin' : 'no-referrer')
  expect(headers.get('x-content-type-options')).toBe('nosniff')
}

const DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"

describe('whatever has a body loads nothing, is framed by nobody and tells no other site', () => {
  it.each(routesFor())('$name', async (route) => {
    const path = pathOf(route, (kind) => ids[kind])
    const bodiless = route.method === 'GET' || route.pattern === '/v1/forward-auth'
    const answers = [
      await call('PATCH', `${path.split('?')[0]}/nothing`),
      await call('PROPFIND', path),
      await call(route.method, path),
      await call(route.method, path, OUTAGE),
      await call(route.method, path, { ...goodCall(route), ...OUTAGE }),
      ...(bodiless ? [] : [await call(route.method, path, TOO_LARGE)]),
      await call('HEAD', path),
      await call(route.method, path, goodCall(route)),
    ]
    for (const answer of answers) {
      expectDocumentHeaders(answer, route)
      expect(answer.headers.get('strict-transport-security')).toBe('max-age=31536000')
    }
    expectDocumentHeaders(await call(route.method, path, WITHOUT_SETTINGS), route)
  })
})

it('a 204 is no document: forward-auth says of a device only who it is', async () => {
  const answer = await call('GET', '/v1/forward-auth?owner=any', { token: device.secret })
  expect(answer.status).toBe(204)
  expect([...answer.headers.keys()].toSorted()).toEqual([
    'cache-control',
    'strict-transport-security',
    'x-content-type-options',
    'x-device-id',
    'x-device-name',
    'x-device-scopes',
    'x-key-id',
    'x-owner-id',
    'x-request-id',
  ])
})

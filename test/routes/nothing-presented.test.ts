import { describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { expectOAuthError, postForm } from '../support/oauth.ts'

const NOTHING: readonly Readonly<Record<string, string>>[] = [
  {},
  { Authorization: '' },
  { Authorization: 'Bearer' },
  { Authorization: 'bearer  ' },
  { 'X-API-Key': '' },
  { Authorization: 'Bearer', 'X-API-Key': '' },
]
const CHALLENGE = 'Bearer realm="latchkey"'
const DEVICE_PLACES = ['Authorization: Bearer', 'Authorization: ApiKey', 'X-API-Key']

describe('a request without a credential is told where to put one, without an error', () => {
  it.each([
    ['GET', '/v1/device', DEVICE_PLACES],
    ['POST', '/v1/device/check-ins', DEVICE_PLACES],
    ['POST', '/v1/device/rotate', DEVICE_PLACES],
    ['POST', '/v1/keys/verify', DEVICE_PLACES],
    ['GET', '/v1/forward-auth?owner=any', DEVICE_PLACES],
    ['POST', '/v1/forward-auth?owner=any', DEVICE_PLACES],
    ['GET', '/v1/me', ['Authorization: Bearer', 'access token']],
    ['POST', '/v1/devices', ['Authorization: Bearer', 'access token']],
    ['GET', '/v1/audit-events', ['Authorization: Bearer', 'access token']],
  ])('%s %s', async (method, path, places) => {
    for (const headers of NOTHING) {
      const answer = await call(method, path, { headers })
      expectProblem(answer, 401, 'missing_credential')
      expect(answer.body).toMatchObject({ title: 'A credential is needed' })
      for (const place of places) {
        expect(answer.body).toMatchObject({ detail: expect.stringContaining(place) })
      }
      expect(answer.headers.get('www-authenticate')).toBe(CHALLENGE)
    }
  })

  it('POST /oauth/introspect', async () => {
    for (const headers of NOTHING) {
      const answer = await postForm('/oauth/introspect', { token: 'x' }, headers)
      expectOAuthError(answer, 401, 'invalid_client', CHALLENGE)
      const { body } = answer
      expect(body).toMatchObject({
        error_description: expect.stringMatching(/^A credential is needed: /),
      })
      for (const place of ['Authorization: Bearer', 'ApiKey', 'X-API-Key', 'client_secret']) {
        expect(body).toMatchObject({ error_description: expect.stringContaining(place) })
      }
    }
  })

  it('the classic door keeps its own words', async () => {
    for (const headers of NOTHING) {
      const device = await call('POST', '/user/add-device', { headers, body: { device_name: 'x' } })
      const message = 'Nothing was presented. WWW-Authenticate names the scheme to use.'
      expect([device.status, device.body]).toEqual([401, { message }])
      expect(device.headers.get('www-authenticate')).toBe(CHALLENGE)
      const checkIn = await call('POST', '/device/check-in', { headers })
      const noKey = { message: 'Please provide an API key' }
      expect([checkIn.status, checkIn.body]).toEqual([400, noKey])
    }
  })
})

describe('a request whose credential is wrong is not told that it lacks one', () => {
  it.each(['/v1/device', '/v1/me', '/v1/forward-auth?owner=any'])('GET %s', async (path) => {
    for (const Authorization of ['Bearer x', 'Basic', 'Bearer x y']) {
      const answer = await call('GET', path, { headers: { Authorization } })
      expectProblem(answer, 401, 'invalid_credential')
    }
  })
})

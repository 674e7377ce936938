import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { call, ORIGIN } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { expectNoIdentity, PATH, setUp } from '../support/forward-auth.ts'
import { KEY_KINDS } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { resigned } from '../support/tokens.ts'

const API = 'https://api.example'
const OTHER = 'https://other.example/v2?region=eu'
const audienced: Env = { ...env, DEVICE_TOKEN_AUDIENCES: `${API},${OTHER},${ORIGIN}` }

function pathFor(audience: string): string {
  return `${PATH}&audience=${encodeURIComponent(audience)}`
}

describe.each(KEY_KINDS)('A proxy before one API, and tokens of %s', (_, limits) => {
  it('A token passes where its audience is asked for, and nowhere else', async () => {
    const { device } = await setUp(limits)
    for (const resource of [API, OTHER, ORIGIN]) {
      const token = await fetchToken(device, { resource }, audienced)
      for (const audience of [API, OTHER, ORIGIN]) {
        const answer = await call('GET', pathFor(audience), { token, env: audienced })
        if (audience === resource) {
          expect(answer.status).toBe(204)
          expect(answer.headers.get('x-device-id')).toBe(device.id)
          continue
        }
        expectProblem(answer, 401, 'invalid_credential')
        expectNoIdentity(answer)
      }
    }
  })

  it('A proxy that names no audience asks for PUBLIC_URL, whatever the first one is', async () => {
    const { device } = await setUp(limits)
    const own = await fetchToken(device, { resource: ORIGIN }, audienced)
    expect((await call('GET', PATH, { token: own, env: audienced })).status).toBe(204)
    const unnamed = await fetchToken(device, {}, audienced)
    const answer = await call('GET', PATH, { token: unnamed, env: audienced })
    expectProblem(answer, 401, 'invalid_credential')
    const several = await resigned(own, { aud: [API, ORIGIN] })
    expect((await call('GET', PATH, { token: several, env: audienced })).status).toBe(204)
  })

  it('A token for PUBLIC_URL can be had, and passes, also where the setting leaves it out', async () => {
    const { device } = await setUp(limits)
    const elsewhere = { ...env, DEVICE_TOKEN_AUDIENCES: API }
    const token = await fetchToken(device, { resource: ORIGIN }, elsewhere)
    for (const path of [PATH, pathFor(ORIGIN)]) {
      expect((await call('GET', path, { token, env: elsewhere })).status).toBe(204)
    }
    const other = await call('GET', pathFor(API), { token, env: elsewhere })
    expectProblem(other, 401, 'invalid_credential')
  })

  it('A secret has no audience, and passes whichever is asked for', async () => {
    const { device } = await setUp(limits)
    for (const path of [PATH, pathFor(API), pathFor(ORIGIN)]) {
      const answer = await call('GET', path, { token: device.secret, env: audienced })
      expect(answer.status).toBe(204)
    }
  })

  it('The parameters may stand in any order', async () => {
    const { user, device } = await setUp({ ...limits, scopes: ['telemetry:*'] })
    const asked = ['scope=telemetry:write', `owner=${user.id}`, `audience=${ORIGIN}`]
    for (const query of [asked, asked.toReversed()]) {
      const path = `/v1/forward-auth?${query.join('&')}`
      const token = await fetchToken(device)
      expect((await call('GET', path, { token })).status).toBe(204)
    }
  })
})

describe('An audience that no token can have lets nobody in', () => {
  it.each([
    'https://unknown.example',
    `${API}/`,
    `${API}#part`,
    'HTTPS://API.EXAMPLE',
    `${API},${OTHER}`,
    `${API} ${OTHER}`,
    'urn:latchkey:users',
    'api.example',
    '',
  ])('%j', async (audience) => {
    const { device } = await setUp()
    const answer = await call('GET', pathFor(audience), { token: device.secret, env: audienced })
    expectProblem(answer, 403, 'misconfigured_proxy')
    expect(answer.body).toMatchObject({ detail: expect.stringContaining('`audience`') })
    expectNoIdentity(answer)
  })

  it('Nor does a second one, even of the same name', async () => {
    const { device } = await setUp()
    const path = `${pathFor(API)}&audience=${API}`
    const answer = await call('GET', path, { token: device.secret, env: audienced })
    expectProblem(answer, 403, 'misconfigured_proxy')
  })
})

describe.each(KEY_KINDS)('A token of another API and %s', (_, limits) => {
  it('It is refused as a made-up one is, and is charged nothing', async () => {
    const { device } = await setUp(limits)
    const foreign = await fetchToken(device, { resource: OTHER }, audienced)
    const answer = await call('GET', pathFor(API), { token: foreign, env: audienced })
    expectProblem(answer, 401, 'invalid_credential')
    expect(answer.headers.has('ratelimit')).toBe(false)
  })
})

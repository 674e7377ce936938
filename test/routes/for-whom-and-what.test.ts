import { env, exports } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { requireDevice } from '../../src/http/auth/require-device.ts'
import { makeApp } from '../../src/app.ts'
import { type Answer, call, ORIGIN } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, type TestUser } from '../support/fixtures.ts'
import { makeLimitedDevice } from '../support/limits.ts'
import { basic, expectOAuthError, fetchToken, postForm } from '../support/oauth.ts'
import type { TestDevice } from '../support/fixtures.ts'

const API = 'https://api.example'
const audienced: Env = { ...env, DEVICE_TOKEN_AUDIENCES: `${API},${ORIGIN}` }
const NOT_FOUND = { valid: false, code: 'not_found' }

let user: TestUser
let device: TestDevice
/** May verify everybody's devices. */
let forAll: TestDevice
/** May verify its own owner's devices, of which `device` is none. */
let forOwn: TestDevice
let other: TestUser

beforeAll(async () => {
  user = await makeUser()
  device = await makeLimitedDevice(user, { scopes: ['telemetry:*', 'keys:verify'] })
  forAll = await makeLimitedDevice(await makeUser('admin'), { scopes: ['keys:verify-all'] })
  other = await makeUser()
  forOwn = await makeLimitedDevice(other, { scopes: ['keys:verify'] })
})

async function verify(by: TestDevice, asked: object): Promise<Answer> {
  const body = { api_key: device.secret, ...asked }
  return await call('POST', '/v1/keys/verify', { token: by.secret, body, env: audienced })
}

describe('a verifier that may ask about everybody says whose devices it means', () => {
  it('POST /v1/keys/verify: without an owner it is told what to write, and nothing is spent', async () => {
    const answer = await verify(forAll, {})
    expectProblem(answer, 400, 'invalid_request', ['/owner'])
    expect(answer.text).toContain('user_')
    expect(answer.text).toContain('any')
  })

  it.each([[''], ['ADA'], ['user_x'], ['ANY'], [null], [['any']]])(
    'POST /v1/keys/verify: %j names no owner',
    async (owner) => {
      expectProblem(await verify(forAll, { owner }), 400, 'invalid_request', ['/owner'])
    },
  )

  it('POST /v1/keys/verify: one owner, or any', async () => {
    for (const owner of [user.id, 'any']) {
      expect((await verify(forAll, { owner })).body).toMatchObject({ valid: true })
    }
    expect((await verify(forAll, { owner: other.id })).body).toEqual(NOT_FOUND)
  })

  it('POST /oauth/introspect: in the form or in the URL', async () => {
    const header = basic(forAll.id, forAll.secret)
    const ask = async (form: Readonly<Record<string, string>>, query = '') =>
      await postForm(`/oauth/introspect${query}`, { token: device.secret, ...form }, header)
    for (const answer of [await ask({}), await ask({ owner: 'ADA' }), await ask({}, '?owner=')]) {
      expectOAuthError(answer, 400, 'invalid_request')
    }
    expect((await ask({ owner: 'any' })).body).toMatchObject({ active: true })
    expect((await ask({}, '?owner=any')).body).toMatchObject({ active: true })
    expect((await ask({}, `?owner=${user.id}`)).body).toMatchObject({ active: true })
    expect((await ask({}, `?owner=${other.id}`)).body).toEqual({ active: false })
    // What the form says is meant for this request, and the URL for all.
    expect((await ask({ owner: other.id }, '?owner=any')).body).toEqual({ active: false })
  })
})

describe('a verifier of its own owner’s devices', () => {
  it('reaches no further, whatever owner it names', async () => {
    for (const owner of [undefined, 'any', user.id, other.id]) {
      const asked = owner === undefined ? {} : { owner }
      expect((await verify(forOwn, asked)).body).toEqual(NOT_FOUND)
      const form = { token: device.secret, ...asked }
      const header = basic(forOwn.id, forOwn.secret)
      expect((await postForm('/oauth/introspect', form, header)).body).toEqual({ active: false })
    }
  })

  it('is understood where it names its own owner, or any', async () => {
    const api_key = forOwn.secret
    for (const asked of [{}, { owner: 'any' }, { owner: other.id }]) {
      expect((await verify(forOwn, { api_key, ...asked })).body).toMatchObject({ valid: true })
    }
    expect((await verify(forOwn, { api_key, owner: user.id })).body).toEqual(NOT_FOUND)
  })
})

describe('a token for another API opens no door that did not name it', () => {
  let token: string
  beforeAll(async () => {
    token = await fetchToken(device, { resource: API }, audienced)
  })

  it.each([
    ['GET', '/v1/device', {}],
    ['POST', '/v1/device/check-ins', { body: {} }],
    ['POST', '/v1/keys/verify', { body: { api_key: 'x' } }],
  ])('%s %s', async (method, path, options) => {
    const answer = await call(method, path, { ...options, token, env: audienced })
    expectProblem(answer, 401, 'invalid_credential')
  })

  it('POST /oauth/introspect, as the verifier’s own token', async () => {
    const bearer = { Authorization: `Bearer ${token}` }
    const answer = await postForm('/oauth/introspect', { token: 'x' }, bearer, audienced)
    expect(answer).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
  })

  it('POST /device/check-in', async () => {
    const answer = await call('POST', '/device/check-in', {
      body: { api_key: token },
      env: audienced,
    })
    expect(answer.status).toBe(403)
  })

  it('POST /v1/keys/verify and RPC, unless they name it', async () => {
    expect((await verify(device, { api_key: token })).body).toEqual(NOT_FOUND)
    for (const audience of [API, 'any']) {
      expect((await verify(device, { api_key: token, audience })).body).toMatchObject({
        valid: true,
      })
    }
    expect(await exports.KeyVerifier.verify(token, { owner: 'any' })).toEqual(NOT_FOUND)
  })

  it('POST /oauth/introspect, unless it names it', async () => {
    const header = basic(device.id, device.secret)
    const ask = async (form: Readonly<Record<string, string>>, query = '') =>
      (await postForm(`/oauth/introspect${query}`, { token, ...form }, header, audienced)).body
    expect(await ask({})).toEqual({ active: false })
    expect(await ask({ audience: API })).toMatchObject({ active: true, aud: API })
    expect(await ask({}, `?audience=${encodeURIComponent(API)}`)).toMatchObject({ active: true })
  })

  it('someone’s own route, unless its guard names it', async () => {
    const app = makeApp()
      .get('/plain', requireDevice({ owner: 'any' }), (c) => c.json({}))
      .get('/named', requireDevice({ owner: 'any', audience: API }), (c) => c.json({}))
    const ask = async (path: string, presented: string) => {
      const headers = { Authorization: `Bearer ${presented}` }
      return (await app.request(path, { headers }, audienced)).status
    }
    expect([await ask('/plain', token), await ask('/named', token)]).toEqual([401, 200])
    const own = await fetchToken(device, { resource: ORIGIN }, audienced)
    expect([await ask('/plain', own), await ask('/named', own)]).toEqual([200, 401])
    // A secret is for no audience: whoever is handed one can get any token.
    expect([await ask('/plain', device.secret), await ask('/named', device.secret)]).toEqual([
      200, 200,
    ])
  })
})

describe('requireDevice()', () => {
  it('lets in the devices of the owner that it names, and no others', async () => {
    const app = makeApp().get('/mine', requireDevice({ owner: ownerOf(user) }), (c) => c.json({}))
    const ask = async (presented: string) => {
      const headers = { Authorization: `Bearer ${presented}` }
      return (await app.request('/mine', { headers }, env)).status
    }
    expect(await ask(device.secret)).toBe(200)
    expect(await ask(forOwn.secret)).toBe(401)
  })

  it.each([[undefined], [''], ['ada'], ['ANY'], [null]])(
    'cannot be made for the owner %j, which is nobody',
    (owner) => {
      const make = () => Reflect.apply(requireDevice, undefined, [{ owner }])
      expect(make).toThrow(TypeError)
      expect(make).toThrow('any')
    },
  )
})

function ownerOf({ id }: TestUser): `user_${string}` {
  return `user_${id.slice('user_'.length)}`
}

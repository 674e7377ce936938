import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { badDeviceSecrets } from '../support/bad-credentials.ts'
import { call } from '../support/client.ts'
import { expectProblem, withoutInstance } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { KEY_KINDS } from '../support/limits.ts'
import { DOOR, expectNoIdentity, PATH, setUp } from '../support/forward-auth.ts'
import { unissuedSecret } from '../support/tokens.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']

describe.each(KEY_KINDS)('%s that is good passes', (_, limits) => {
  it('with all five headers, and nothing to keep', async () => {
    const { user, device } = await setUp({ ...limits, scopes: ['telemetry:*', 'site:north'] })
    const answer = await call('GET', PATH, { token: device.secret })
    expect([answer.status, answer.text]).toEqual([204, ''])
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'x-device-id': device.id,
      'x-device-name': device.name,
      'x-owner-id': user.id,
      'x-key-id': device.keyId,
      'x-device-scopes': 'telemetry:* site:north',
      'cache-control': 'no-store',
    })
    expect(answer.headers.has('ratelimit')).toBe('rate_limit' in limits)
    expect(answer.headers.has('content-type')).toBe(false)
  })

  it('in each header that may hold it', async () => {
    const { secret } = (await setUp(limits)).device
    for (const headers of [
      { Authorization: `Bearer ${secret}` },
      { Authorization: `apikey ${secret}` },
      { 'X-API-Key': secret },
      { 'X-API-Key': secret, Authorization: 'Basic dTpw' },
    ]) {
      expect((await call('GET', PATH, { headers })).status).toBe(204)
    }
  })

  it.each([
    ['🌡️ Büro / 3.OG', '%F0%9F%8C%A1%EF%B8%8F%20B%C3%BCro%20%2F%203.OG'],
    ['50 %, "a\\b"', '50%20%25%2C%20%22a%5Cb%22'],
    ['👩‍👩‍👧'.repeat(16), encodeURIComponent('👩‍👩‍👧'.repeat(16))],
  ])('whatever it is called: %s', async (name, encoded) => {
    const { device } = await setUp(limits, name)
    const answer = await call('GET', PATH, { token: device.secret })
    expect(answer.status).toBe(204)
    expect(answer.headers.get('x-device-name')).toBe(encoded)
    expect(decodeURIComponent(encoded)).toBe(name)
  })

  it('without scopes, which a dash says', async () => {
    const { device } = await setUp({ ...limits, scopes: [] })
    const answer = await call('GET', PATH, { token: device.secret })
    expect(answer.headers.get('x-device-scopes')).toBe('-')
  })

  it.each(METHODS)('with the method %s, its body unread', async (method) => {
    const { device } = await setUp(limits)
    for (const environment of [env, { ...env, CORS_ORIGINS: 'https://app.example' }]) {
      const preflight = {
        Origin: 'https://app.example',
        'Access-Control-Request-Method': 'PUT',
        'Content-Length': '100000000',
      }
      const without = await call(method, PATH, { headers: preflight, env: environment })
      expect([without.status, without.headers.get('www-authenticate')]).toEqual([
        401,
        'Bearer realm="latchkey"',
      ])
      const options = { token: device.secret, headers: preflight, env: environment }
      const answer = await call(method, PATH, options)
      expect(answer.status).toBe(204)
      expect(answer.headers.get('x-device-id')).toBe(device.id)
    }
  })

  it('beside a body that is too large, or holds a second credential', async () => {
    const { secret } = (await setUp(limits)).device
    const large = await call('POST', PATH, { token: secret, raw: 'x'.repeat(200_000) })
    expect(large.status).toBe(204)
    const sent = await call('POST', PATH, { token: secret, body: { api_key: secret } })
    expect(sent.status).toBe(204)
    const alone = await call('POST', PATH, { body: { api_key: secret } })
    expectProblem(alone, 401, 'missing_credential')
  })
})

describe.each(KEY_KINDS)('%s that is not good does not pass', (_, limits) => {
  it('and is told why, if it is genuine', async () => {
    for (const { label, headers, code } of await badDeviceSecrets(limits)) {
      const answer = await call('GET', PATH, { headers })
      expect({ label, body: answer.body }).toMatchObject({ label, body: { code } })
      expectProblem(answer, 401, code)
      expectNoIdentity(answer)
    }
  })

  it('of two at once, neither: 401, which is what proxies pass on', async () => {
    const { secret } = (await setUp(limits)).device
    for (const headers of [
      { Authorization: `Bearer ${secret}`, 'X-API-Key': secret },
      { Authorization: `Bearer ${secret}, Bearer ${secret}` },
      { 'X-API-Key': `${secret}, ${secret}` },
    ]) {
      const answer = await call('GET', PATH, { headers })
      expectProblem(answer, 401, 'invalid_credential')
      expect(answer.body).toMatchObject({ detail: expect.stringContaining('one place only') })
      expectNoIdentity(answer)
    }
  })

  it('nor does anything in the query', async () => {
    const { secret } = (await setUp(limits)).device
    const answer = await call('GET', `${PATH}&api_key=${secret}`)
    expectProblem(answer, 403, 'misconfigured_proxy')
  })
})

describe.each(KEY_KINDS)('?scope= of %s', (_, limits) => {
  it('asks for each that is named', async () => {
    const { device } = await setUp({ ...limits, scopes: ['telemetry:*', 'site:north'] })
    const get = async (query: string) =>
      await call('GET', `${PATH}&${query}`, { token: device.secret })
    expect((await get('scope=telemetry:write')).status).toBe(204)
    expect((await get('scope=telemetry%3Awrite&scope=site:north')).status).toBe(204)
    const refused = await get('scope=telemetry:write&scope=site:south')
    expectProblem(refused, 403, 'insufficient_scope')
    expect(refused.headers.get('www-authenticate')).toBe(
      'Bearer realm="latchkey", error="insufficient_scope", scope="telemetry:write site:south"',
    )
    expectNoIdentity(refused)
  })
})

describe.each(KEY_KINDS)('?owner= of %s', (_, limits) => {
  it("lets in that owner's devices, and another's is as if made up", async () => {
    const { user, device } = await setUp(limits)
    const other = await makeUser()
    const own = await call('GET', `${DOOR}?owner=${user.id}`, { token: device.secret })
    expect(own.status).toBe(204)
    expect(own.headers.get('x-owner-id')).toBe(user.id)

    const madeUp = await call('GET', `${DOOR}?owner=${other.id}`, { token: await unissuedSecret() })
    for (const owner of [other.id, newId('user')]) {
      const foreign = await call('GET', `${DOOR}?owner=${owner}`, { token: device.secret })
      expectProblem(foreign, 401, 'invalid_credential')
      expect(withoutInstance(foreign.body)).toEqual(withoutInstance(madeUp.body))
      expect([...foreign.headers.keys()]).toEqual([...madeUp.headers.keys()])
    }
  })
})

describe('?owner= of a limited key', () => {
  it('does not charge a key of another owner', async () => {
    const { device } = await setUp({ rate_limit: { limit: 1, window_seconds: 3600 } })
    const foreign = await call('GET', `${DOOR}?owner=${newId('user')}`, { token: device.secret })
    expectProblem(foreign, 401, 'invalid_credential')
    expect(foreign.headers.has('ratelimit')).toBe(false)
    expect((await call('GET', PATH, { token: device.secret })).status).toBe(204)
  })
})

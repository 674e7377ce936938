import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { factory } from '../../src/http/env.ts'
import { requireDevice } from '../../src/http/auth/require-device.ts'
import { bodyLimit } from '../../src/http/middleware/body-limit.ts'
import { requestContext } from '../../src/http/middleware/request-context.ts'
import { thisIsolate } from '../../src/isolate/state.ts'
import { type BadCredential, badDeviceSecrets } from '../support/bad-credentials.ts'
import { call, freshIp, ORIGIN } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice } from '../support/limits.ts'
import { execute } from '../support/rows.ts'

type HeaderFields = Readonly<Record<string, string>>

describe.each(KEY_KINDS)('requireDevice() before someone’s own route, for %s', (_, limits) => {
  const app = factory
    .createApp()
    .use(requestContext(thisIsolate))
    .use(bodyLimit)
    .post('/telemetry', requireDevice({ owner: 'any', body: true }), async (c) => {
      // Typed: no cast and no check for undefined.
      const names: { device: string; key: string } = {
        device: c.var.device.name,
        key: c.var.key.id,
      }
      return c.json({ ...names, sent: await c.req.json().catch(() => null) })
    })

  async function send(raw: string | ReadableStream, headers: HeaderFields = {}) {
    const request = new Request(`${ORIGIN}/telemetry`, {
      method: 'POST',
      body: raw,
      headers: { 'Content-Type': 'application/json', 'CF-Connecting-IP': freshIp(), ...headers },
    })
    const response = await app.fetch(request, env)
    const body: unknown = await response.json()
    return { status: response.status, headers: response.headers, text: '', body }
  }

  it('knows the device and the key, and the route can still read the body', async () => {
    const device = await makeLimitedDevice(await makeUser(), limits)
    const sent = { api_key: device.secret, value: 7 }
    const answer = await send(JSON.stringify(sent))
    expect(answer.body).toEqual({ device: device.name, key: device.keyId, sent })
    const bearer = { Authorization: `Bearer ${device.secret}` }
    expect((await send('not json', bearer)).body).toMatchObject({ device: device.name, sent: null })
  })

  it('goes by the time at which it decides, however long the body took', async () => {
    const device = await makeLimitedDevice(await makeUser(), limits)
    const end = Date.now() + 300
    await execute('update api_keys set expires_at = ? where id = ?', end, device.keyId)
    const slow = new ReadableStream({
      async start(controller) {
        await scheduler.wait(400)
        controller.enqueue(new TextEncoder().encode(JSON.stringify({ api_key: device.secret })))
        controller.close()
      },
    })
    expectProblem(await send(slow), 401, 'expired')
  })

  it('asks for scopes, and names what is missing', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const guarded = factory
      .createApp()
      .use(requestContext(thisIsolate))
      .get('/telemetry', requireDevice({ owner: 'any', scopes: ['telemetry:write', 'a'] }), (c) =>
        c.json({}),
      )
    const get = async () =>
      await guarded.fetch(
        new Request(`${ORIGIN}/telemetry`, { headers: { 'X-API-Key': device.secret } }),
        env,
      )
    const refused = await get()
    expect(refused.status).toBe(403)
    expect(await refused.json()).toMatchObject({ code: 'insufficient_scope' })
    expect(refused.headers.get('www-authenticate')).toBe(
      'Bearer realm="latchkey", error="insufficient_scope", scope="telemetry:write a"',
    )
    const path = `/v1/devices/${device.id}/keys/${device.keyId}`
    await call('PATCH', path, { token: user.token, body: { scopes: ['a', 'telemetry:*'] } })
    expect((await get()).status).toBe(200)
  })

  it.each(['telemetry:*', '', 'a b'])('cannot be made for %j, which is no scope', (scope) => {
    expect(() => requireDevice({ owner: 'any', scopes: [scope] })).toThrow(TypeError)
  })

  it('takes no second credential from the body', async () => {
    const { secret } = await makeLimitedDevice(await makeUser(), limits)
    for (const headers of [{ 'X-API-Key': secret }, { Authorization: `Bearer ${secret}` }]) {
      const answer = await send(JSON.stringify({ api_key: secret }), headers)
      expectProblem(answer, 400, 'several_credentials')
    }
  })

  it('refuses bodies that hold no good secret', async () => {
    for (const raw of ['', 'not json', '{}', '[]', 'null', '"lk_x"', '[{"api_key":"x"}]']) {
      expectProblem(await send(raw), 401, 'missing_credential')
    }
    for (const raw of ['{"api_key":7}', '{"api_key":null}', '{"api_key":{}}', '{"api_key":""}']) {
      expectProblem(await send(raw), 401, 'invalid_credential')
    }
    const { secret } = await makeLimitedDevice(await makeUser(), limits)
    const form = { 'Content-Type': 'text/plain' }
    expectProblem(await send(JSON.stringify({ api_key: secret }), form), 401, 'missing_credential')
    const bad: BadCredential[] = await badDeviceSecrets(limits)
    for (const { headers, code } of bad) {
      const secret = headers['Authorization']?.replace(/^Bearer ?/, '')
      // An empty header presents nothing; an empty `api_key` is above.
      if (secret === undefined || secret === '') continue
      expectProblem(await send(JSON.stringify({ api_key: secret })), 401, code)
    }
  })
})

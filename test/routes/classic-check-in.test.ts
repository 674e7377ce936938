import { describe, expect, it } from 'vitest'
import { badDeviceSecrets } from '../support/bad-credentials.ts'
import { expectExactly, MESSAGE, postClassic } from '../support/classic.ts'
import { call } from '../support/client.ts'
import {
  fakeLimiter,
  withFailingDatabase,
  withFailingDeviceStates,
} from '../support/environments.ts'
import { makeDevice, makeUser, PASSWORD } from '../support/fixtures.ts'
import { cheapHashing } from '../support/sign-in.ts'

const NO_API_KEY = { message: 'Please provide an API key' }
const INVALID_API_KEY = { message: 'The provided API key is not valid' }

describe('/device/check-in', () => {
  it('200 for a good key, and the device is seen', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const answer = await postClassic('/device/check-in', { api_key: device.secret, more: 1 })
    expectExactly(answer, 200, { ...MESSAGE, device_name: device.name })
    const { body } = await call('GET', `/v1/devices/${device.id}`, { token: user.token })
    expect(body).toMatchObject({ last_seen_at: expect.any(String) })
  })

  it('403 for a key that is no good, whatever the reason', async () => {
    for (const { headers } of await badDeviceSecrets()) {
      const secret = headers['Authorization']?.replace(/^Bearer ?/, '')
      const answer = await postClassic('/device/check-in', { api_key: secret ?? 'none' })
      expectExactly(answer, 403, INVALID_API_KEY)
    }
  })

  it.each([{ api_key: 7 }, { api_key: null }, { api_key: [] }, { key: 'x' }, [1], 'text', 1, true])(
    '403 for truthy JSON without a key: %j',
    async (body) => {
      expectExactly(await postClassic('/device/check-in', body), 403, INVALID_API_KEY)
    },
  )

  it('403 for a key in a header, which this door does not read', async () => {
    const { secret } = await makeDevice(await makeUser())
    const headers = { Authorization: `Bearer ${secret}`, 'X-API-Key': secret }
    expectExactly(
      await postClassic('/device/check-in', { a: 1 }, { headers }),
      403,
      INVALID_API_KEY,
    )
  })

  it.each(['{}', '[]', 'null', 'false', '0', '""', '', '{', 'api_key=x'])(
    '400 for falsy or broken JSON: %s',
    async (raw) => {
      const headers = { 'Content-Type': 'application/json' }
      const answer = await call('POST', '/device/check-in', { raw, headers })
      expectExactly(answer, 400, NO_API_KEY)
    },
  )

  it('400 without JSON: no body, or another media type', async () => {
    const { secret } = await makeDevice(await makeUser())
    expectExactly(await call('POST', '/device/check-in'), 400, NO_API_KEY)
    for (const type of ['text/plain', 'application/x-www-form-urlencoded']) {
      const raw = JSON.stringify({ api_key: secret })
      const options = { raw, headers: { 'Content-Type': type } }
      expectExactly(await call('POST', '/device/check-in', options), 400, NO_API_KEY)
    }
  })

  it.each(['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('403 for %s', async (method) => {
    const { secret } = await makeDevice(await makeUser())
    const withBody = method === 'GET' ? {} : { body: { api_key: secret } }
    expectExactly(await call(method, '/device/check-in', withBody), 403, INVALID_API_KEY)
  })

  it('403 without a body for HEAD', async () => {
    const answer = await call('HEAD', '/device/check-in')
    expect([answer.status, answer.text]).toEqual([403, ''])
  })
})

describe('a limit or an outage keeps the shape', () => {
  const noMore = { ...cheapHashing, PASSWORD_LIMITER_IP: fakeLimiter(0) }

  it.each(['/register', '/auth'])('429 at %s', async (path) => {
    const body = { username: 'somebody', password: PASSWORD }
    const answer = await postClassic(path, body, { env: noMore })
    expectExactly(answer, 429, MESSAGE)
    expect(answer.headers.get('retry-after')).toBe('60')
  })

  it('503 at each when D1 fails', async () => {
    const user = await makeUser()
    const { secret } = await makeDevice(user)
    const bodies = {
      '/register': { username: 'somebody-new', password: PASSWORD },
      '/auth': { username: user.username, password: PASSWORD },
      '/user/add-device': { device_name: 'x' },
      '/device/check-in': { api_key: secret },
    }
    for (const [path, body] of Object.entries(bodies)) {
      const answer = await postClassic(path, body, {
        env: withFailingDatabase(),
        token: user.token,
      })
      expectExactly(answer, 503, MESSAGE)
      expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      expect(answer.text).not.toMatch(/D1|select|insert|sql/i)
    }
  })

  it('503 at check-in when the device’s object does not answer', async () => {
    const { secret } = await makeDevice(await makeUser())
    const options = { env: withFailingDeviceStates() }
    const answer = await postClassic('/device/check-in', { api_key: secret }, options)
    expectExactly(answer, 503, MESSAGE)
    expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
  })

  it.each(['/register', '/auth', '/user/add-device'])(
    'a message for another method at %s',
    async (path) => {
      const answer = await call('GET', path)
      expectExactly(answer, 405, MESSAGE)
      expect(answer.headers.get('allow')).toBe('POST')
    },
  )

  it.each(['/register', '/auth', '/user/add-device', '/device/check-in'])(
    'a message for a body that is too large at %s',
    async (path) => {
      const { token } = await makeUser()
      const answer = await postClassic(path, { a: 'x'.repeat(65_536) }, { token })
      expectExactly(answer, 413, MESSAGE)
    },
  )

  it.each(['/register', '/auth', '/user/add-device'])(
    'a message for another media type at %s',
    async (path) => {
      const { token } = await makeUser()
      const headers = { 'Content-Type': 'text/plain' }
      expectExactly(await call('POST', path, { raw: '{}', headers, token }), 415, MESSAGE)
    },
  )
})

import { env, exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Answer, call, type CallOptions, pick } from '../support/client.ts'
import { captureConsole, eventsOf, type LogLine } from '../support/console.ts'
import { makeDevice, makeUser, PASSWORD } from '../support/fixtures.ts'
import { cheapHashing, makeCheapUser, nextOf, openSession } from '../support/sign-in.ts'
import { forgedFrom } from '../support/tokens.ts'

let lines: LogLine[]

beforeEach(() => {
  lines = captureConsole()
})

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

/** The lines that one call writes. */
async function linesOf(
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<{ answer: Answer; written: LogLine[] }> {
  const from = lines.length
  const answer = await call(method, path, options)
  return { answer, written: lines.slice(from) }
}

describe('a line is written', () => {
  it('for every change, with ids and no more', async () => {
    const user = await makeUser()
    const created = await linesOf('POST', '/v1/devices', { token: user.token, body: { name: 'x' } })
    const device = pick(created.answer.body, 'device', 'id')
    const patch = { token: user.token, body: { enabled: false } }
    const changed = await linesOf('PATCH', `/v1/devices/${device}`, patch)
    const removed = await linesOf('DELETE', `/v1/devices/${device}`, { token: user.token })
    const expected = [
      { ...created, method: 'POST', route: '/v1/devices', status: 201 },
      { ...changed, method: 'PATCH', route: '/v1/devices/:id', status: 200 },
      { ...removed, method: 'DELETE', route: '/v1/devices/:id', status: 204 },
    ]
    for (const { answer, written, method, route, status } of expected) {
      expect(written).toHaveLength(1)
      expect(written[0]?.level).toBe('info')
      const id = answer.headers.get('x-request-id')
      const ms = expect.any(Number)
      const [line] = eventsOf(written, 'request')
      expect(line).toMatchObject({ id, method, route, status, ms, user: user.id, device })
      const allowed = ['event', 'id', 'method', 'route', 'status', 'ms', 'user', 'device', 'key']
      expect(allowed).toEqual(expect.arrayContaining(Object.keys(line ?? {})))
    }
  })

  it('for a registration, a sign-in and a sign-out, with the user', async () => {
    const user = await makeCheapUser()
    const body = { username: user.username, password: PASSWORD }
    const signIn = await linesOf('POST', '/v1/sessions', { body, env: cheapHashing })
    const signOut = await linesOf('DELETE', '/v1/sessions/current', { token: user.token })
    const registration = { username: `${user.username}-2`, password: PASSWORD }
    const registered = await linesOf('POST', '/v1/users', { body: registration, env: cheapHashing })
    const id = pick(registered.answer.body, 'id')
    expect(eventsOf(signIn.written, 'request')).toMatchObject([{ status: 201, user: user.id }])
    expect(eventsOf(signOut.written, 'request')).toMatchObject([{ status: 204, user: user.id }])
    expect(eventsOf(registered.written, 'request')).toMatchObject([{ status: 201, user: id }])
  })

  it('for a denial of something genuine, with whose it is', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const patch = { token: user.token, body: { enabled: false } }
    await call('PATCH', `/v1/devices/${device.id}`, patch)
    for (const path of ['/v1/device', '/device/check-in']) {
      const isClassic = path === '/device/check-in'
      const presented = isClassic ? { body: { api_key: device.secret } } : { token: device.secret }
      const { written } = await linesOf(isClassic ? 'POST' : 'GET', path, presented)
      expect(written).toHaveLength(1)
      expect(eventsOf(written, 'request')).toMatchObject([
        { route: path, status: isClassic ? 403 : 401, device: device.id, key: device.keyId },
      ])
    }
    await call('DELETE', '/v1/sessions/current', { token: user.token })
    const ended = await linesOf('GET', '/v1/me', { token: user.token })
    expect(eventsOf(ended.written, 'request')).toMatchObject([{ route: '/v1/me', status: 401 }])
  })

  it('for a spent refresh token, as an alarm is', async () => {
    const first = await openSession(await makeCheapUser())
    const spent = { body: { refresh_token: first } }
    expect((await linesOf('POST', '/v1/sessions/refresh', spent)).written).toHaveLength(1)
    await nextOf(await nextOf(await nextOf(first)))
    const again = await linesOf('POST', '/v1/sessions/refresh', spent)
    expect(eventsOf(again.written, 'request')).toMatchObject([{ status: 401 }])
  })
})

describe('no line is written', () => {
  it('for a success that changes nothing, a refused change, or nobody at all', async () => {
    const user = await makeUser()
    const device = await makeDevice(user, 'taken')
    const quiet: (readonly [string, string, CallOptions, number])[] = [
      ['GET', '/v1/me', { token: user.token }, 200],
      ['GET', '/v1/devices?q=x', { token: user.token }, 200],
      ['GET', `/v1/devices/${device.id}`, { token: user.token }, 200],
      ['GET', '/v1/device', { token: device.secret }, 200],
      ['POST', '/v1/device/check-ins', { token: device.secret, body: {} }, 201],
      ['POST', '/v1/devices', { token: user.token, body: { name: 'taken' } }, 409],
      ['POST', '/v1/devices', { token: user.token, body: {} }, 400],
      ['DELETE', '/v1/devices/dev_x', { token: user.token }, 404],
      ['GET', '/v1/me', {}, 401],
      ['GET', '/v1/nothing', {}, 404],
      ['PUT', '/v1/me', {}, 405],
      ['GET', '/healthz', {}, 200],
    ]
    for (const [method, path, options, status] of quiet) {
      const { answer, written } = await linesOf(method, path, options)
      expect({ path, status: answer.status, written }).toEqual({ path, status, written: [] })
    }
  })

  it('but one of each when LOG_REQUESTS is all', async () => {
    const { token } = await makeUser()
    const all = { ...env, LOG_REQUESTS: 'all' }
    for (const [path, status] of [
      ['/v1/me', 200],
      ['/v1/nothing', 404],
      ['/healthz', 200],
    ] as const) {
      const { written } = await linesOf('GET', `${path}?secret=in-query`, { token, env: all })
      expect(eventsOf(written, 'request')).toMatchObject([{ method: 'GET', status }])
      expect(written.map(({ text }) => text).join()).not.toContain('in-query')
    }
  })

  it('for a made-up credential, but one a second that counts them', async () => {
    const { token } = await makeUser()
    const { secret } = await makeDevice(await makeUser())
    vi.useFakeTimers({ toFake: ['Date'] })
    const start = Math.ceil(Date.now() / 1000) * 1000 + 3_600_000
    const knocks: (readonly [string, string])[] = [
      ['/v1/device', forgedFrom(secret)],
      ['/v1/device', 'nonsense'],
      ['/v1/me', 'a.b.c'],
      ['/v1/me', `${token.slice(0, -9)}AAAAAAAAA`],
      ['/v1/device', token],
    ]
    // Whatever came before in this isolate is counted by the first line.
    vi.setSystemTime(start)
    await call('GET', '/v1/device', { token: 'nonsense' })
    const from = lines.length
    for (const [path, bad] of knocks) await call('GET', path, { token: bad })
    vi.setSystemTime(start + 999)
    await call('POST', '/device/check-in', { body: { api_key: 'nonsense' } })
    expect(lines.slice(from)).toEqual([])
    vi.setSystemTime(start + 1000)
    await call('GET', '/v1/device', { token: 'nonsense' })
    await call('GET', '/v1/device', { token: 'nonsense' })
    expect(lines.slice(from)).toMatchObject([{ level: 'warn' }])
    const counted = { event: 'made-up-credentials', count: knocks.length + 2 }
    expect(eventsOf(lines.slice(from), 'made-up-credentials')).toEqual([counted])
  })
})

describe('a denial over RPC', () => {
  it('has a line that says whose key it was, and never its secret', async () => {
    const device = await makeDevice(await makeUser())
    const from = lines.length
    expect(await exports.KeyVerifier.verify(device.secret, { owner: 'any' })).toMatchObject({
      valid: true,
    })
    expect(lines.slice(from)).toEqual([])
    await exports.KeyVerifier.verify(device.secret, { owner: 'any', scopes: ['a'] })
    const line = { event: 'rpc-denial', code: 'insufficient_scope' }
    expect(eventsOf(lines.slice(from), 'rpc-denial')).toEqual([
      { ...line, device: device.id, key: device.keyId },
    ])
    expect(JSON.stringify(lines.slice(from))).not.toContain(device.secret)
  })
})

describe('no line holds', () => {
  it.each(['changes', 'all'])(
    'a secret, a token, a password, a query or a body: %s',
    async (level) => {
      const environment = { ...cheapHashing, LOG_REQUESTS: level }
      const username = `story-${level}`
      const act = async (method: string, path: string, options: CallOptions = {}) =>
        await call(method, `${path}?query=in-the-query`, { env: environment, ...options })

      const credentials = { username, password: 'password-in-the-body' }
      await act('POST', '/v1/users', { body: credentials })
      await act('POST', '/v1/sessions', { body: { username, password: 'wrong-in-the-body' } })
      const { body: tokens } = await act('POST', '/v1/sessions', { body: credentials })
      const { body: rotated } = await act('POST', '/v1/sessions/refresh', {
        body: { refresh_token: pick(tokens, 'refresh_token') },
      })
      const token = pick(rotated, 'access_token')
      const device = { name: 'name-in-the-body', metadata: { note: 'note-in-the-body' } }
      const { body: made } = await act('POST', '/v1/devices', { token, body: device })
      const secret = pick(made, 'api_key')
      const id = pick(made, 'device', 'id')
      const report = { note: 'report-in-the-body' }
      await act('POST', '/v1/device/check-ins', { token: secret, body: { report } })
      await act('GET', '/v1/device', { token: forgedFrom(secret) })
      await act('POST', '/device/check-in', { body: { api_key: secret } })
      await act('POST', '/v1/devices', { token, raw: '{"broken-in-the-body', headers: JSON_TYPE })
      await act('DELETE', `/v1/devices/${id}`, { token })
      await act('GET', '/v1/device', { token: secret })
      await act('POST', '/v1/sessions/refresh', {
        body: { refresh_token: pick(tokens, 'refresh_token') },
      })
      await act('GET', '/v1/me', { token })

      const said = lines.map(({ text }) => text).join('\n')
      expect(said).toContain(id)
      const hidden = [token, pick(tokens, 'access_token'), pick(rotated, 'refresh_token'), secret]
      for (const text of hidden) {
        expect(said).not.toContain(text)
        expect(said).not.toContain(text.slice(-20))
      }
      for (const text of ['in-the-query', 'in-the-body', username]) expect(said).not.toContain(text)
    },
  )
})

const JSON_TYPE = { 'Content-Type': 'application/json' }

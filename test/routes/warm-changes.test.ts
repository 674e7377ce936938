import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Answer, call } from '../support/client.ts'
import { withLostAnswers } from '../support/databases.ts'
import { PASSWORD } from '../support/fixtures.ts'
import { setClock } from '../support/limits.ts'
import { basic, postForm } from '../support/oauth.ts'
import { makeWarmDevice, present, type WarmDevice } from '../support/warm.ts'

type Call = (warm: WarmDevice, environment?: Env) => Promise<Answer>

let warm: WarmDevice

beforeEach(async () => {
  // It stands still but for the steps of the tests: nothing is read again because of its age.
  setClock(Date.now())
  warm = await makeWarmDevice()
})

afterEach(() => {
  vi.useRealTimers()
})

const onKey =
  (method: string, suffix: string, body?: unknown): Call =>
  async ({ user, keyPath }, environment = env) =>
    await call(method, `${keyPath}${suffix}`, { token: user.token, body, env: environment })

const onDevice =
  (method: string, body?: unknown): Call =>
  async ({ user, device }, environment = env) =>
    await call(method, `/v1/devices/${device.id}`, { token: user.token, body, env: environment })

const deleteAccount =
  (current_password: string): Call =>
  async ({ user: { token } }, environment = env) =>
    await call('DELETE', '/v1/me', { token, body: { current_password }, env: environment })

const revokeAtOAuth: Call = async ({ device }, environment = env) =>
  await postForm(
    '/oauth/revoke',
    { token: device.secret },
    basic(device.id, device.secret),
    environment,
  )

const SECOND_MS = 1000
const limits = {
  rate_limit: { limit: 5, window_seconds: 60 },
  quota: { limit: 9, period: 'day' },
}

type Change = {
  readonly name: string
  readonly change: Call
  /** What the next call with the secret shows. */
  readonly shows: Readonly<Record<string, unknown>>
  /** When the next call is made. */
  readonly laterMs?: number
}

const refused = (code: string) => ({ status: 401, body: { code } })
const shown = (body: object) => ({ status: 200, body })

const ENDS: readonly Change[] = [
  { name: 'revoking its key', change: onKey('DELETE', ''), shows: refused('revoked') },
  {
    name: 'disabling its key',
    change: onKey('PATCH', '', { enabled: false }),
    shows: refused('disabled'),
  },
  {
    name: 'giving its key an end, once that has come',
    change: onKey('PATCH', '', { expires_in: 1 }),
    shows: refused('expired'),
    laterMs: SECOND_MS,
  },
  {
    name: 'rotating its key without an overlap',
    change: onKey('POST', '/rotate', { overlap_seconds: 0 }),
    shows: refused('revoked'),
  },
  {
    name: 'rotating its key with an overlap, once that is over',
    change: onKey('POST', '/rotate', { overlap_seconds: 1 }),
    shows: refused('expired'),
    laterMs: SECOND_MS,
  },
  {
    name: 'disabling its device',
    change: onDevice('PATCH', { enabled: false }),
    shows: refused('disabled'),
  },
  { name: 'deleting its device', change: onDevice('DELETE'), shows: refused('revoked') },
  {
    name: 'deleting the account that owns it',
    change: deleteAccount(PASSWORD),
    shows: refused('revoked'),
  },
  { name: 'revoking it at /oauth/revoke', change: revokeAtOAuth, shows: refused('revoked') },
]

const CHANGES: readonly Change[] = [
  ...ENDS,
  {
    name: 'changing the scopes of its key',
    change: onKey('PATCH', '', { scopes: ['a:b'] }),
    shows: shown({ key: { scopes: ['a:b'] } }),
  },
  { name: 'limiting its key', change: onKey('PATCH', '', limits), shows: shown({ key: limits }) },
  {
    name: 'renaming its key',
    change: onKey('PATCH', '', { name: 'new' }),
    shows: shown({ key: { name: 'new' } }),
  },
  {
    name: 'renaming its device',
    change: onDevice('PATCH', { name: 'new' }),
    shows: shown({ device: { name: 'new' } }),
  },
]

describe('a change shows at the very next call in the isolate that made it', () => {
  it.each(CHANGES)(
    'a secret that was just used shows the change after $name',
    async ({ change, shows, laterMs = 0 }) => {
      expect((await change(warm)).status).toBeLessThan(300)
      setClock(Date.now() + laterMs)
      expect(await present(warm.device.secret)).toMatchObject(shows)
    },
  )

  it.each(ENDS)(
    'a device token that was just used is refused after $name',
    async ({ change, laterMs = 0 }) => {
      expect((await change(warm)).status).toBeLessThan(300)
      setClock(Date.now() + laterMs)
      expect((await present(warm.token)).status).toBe(401)
    },
  )

  it.each(CHANGES)(
    'a secret shows the change although the answer to its commit was lost, after $name',
    async ({ change, shows, laterMs = 0 }) => {
      expect((await change(warm, withLostAnswers())).status).toBeGreaterThanOrEqual(500)
      setClock(Date.now() + laterMs)
      expect(await present(warm.device.secret)).toMatchObject(shows)
    },
  )
})

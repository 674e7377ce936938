import { env } from 'cloudflare:workers'
import { expect, vi } from 'vitest'
import type { ChargeRequest } from '../../src/device-state/meter-store.ts'
import type { DeviceState } from '../../src/device-state/device-state.ts'
import type { MeterPolicy } from '../../src/domain/meter.ts'
import { newChargeId, newId } from '../../src/crypto/ids.ts'
import { type Answer, call, type CallOptions, ORIGIN, pick } from './client.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from './fixtures.ts'

/** The limits of a key policy, as the wire has them. */
export type WireLimits = {
  readonly rate_limit?: { readonly limit: number; readonly window_seconds: number } | null
  readonly quota?: { readonly limit: number; readonly period: string } | null
}

/** The two paths of a verify: decided in the isolate alone, and charged in the device's object. */
export const KEY_KINDS: readonly (readonly [string, WireLimits])[] = [
  ['an unlimited key', {}],
  ['a limited key', { rate_limit: { limit: 100_000, window_seconds: 3600 } }],
]

/** A device of the user's whose first key has this policy. */
export async function makeLimitedDevice(
  user: TestUser,
  key: WireLimits & { readonly scopes?: readonly string[] },
): Promise<TestDevice> {
  const name = newId('dev')
  const { body, status } = await call('POST', '/v1/devices', {
    token: user.token,
    body: { name, key },
  })
  expect(status).toBe(201)
  return {
    id: pick(body, 'device', 'id'),
    name,
    keyId: pick(body, 'key', 'id'),
    secret: pick(body, 'api_key'),
  }
}

/** A user, a limited device of theirs, and a verifier that asks about it. */
export async function setUpVerifier(
  limits: WireLimits,
  { scopes = [], env: environment }: { scopes?: readonly string[]; env?: Env } = {},
) {
  const user = await makeUser()
  const device = await makeLimitedDevice(user, { ...limits, scopes })
  const verifier = await makeLimitedDevice(user, { scopes: ['keys:verify'] })
  const world = environment === undefined ? {} : { env: environment }
  const verify = async (body: object = {}, options: CallOptions = {}): Promise<Answer> =>
    await call('POST', '/v1/keys/verify', {
      token: verifier.secret,
      body: { api_key: device.secret, ...body },
      ...world,
      ...options,
    })
  return { user, device, verifier, verify }
}

export async function patchKey(
  user: TestUser,
  device: TestDevice,
  body: Readonly<Record<string, unknown>>,
): Promise<Answer> {
  const path = `/v1/devices/${device.id}/keys/${device.keyId}`
  return await call('PATCH', path, { token: user.token, body })
}

/** A plain device, and its owner. */
export async function makePlainDevice(): Promise<{ user: TestUser; device: TestDevice }> {
  const user = await makeUser()
  return { user, device: await makeDevice(user) }
}

export function stateOf(device: { readonly id: string }): DurableObjectStub<DeviceState> {
  return env.DEVICE_STATE.getByName(device.id)
}

/** What the object is asked about a key with these limits. */
export function chargeOf(
  policy: Partial<MeterPolicy>,
  { cost = 1, ...more }: Partial<ChargeRequest> = {},
): ChargeRequest {
  return {
    id: newChargeId(),
    keyId: 'key_of_the_test',
    secretHash: 'hash',
    policy: { rateLimit: null, quota: null, ...policy },
    cost,
    counts: false,
    ...more,
  }
}

export type ObjectCall = { readonly method: string; readonly deviceId: string }

export type WatchedStates = {
  readonly states: Env['DEVICE_STATE']
  /** The tests' environment with these states. */
  readonly env: Env
  /** The calls to devices' objects, in order. */
  readonly calls: ObjectCall[]
}

/** A call that has not reached the object yet. */
export type PendingCall = ObjectCall & {
  readonly args: readonly unknown[]
  readonly reach: () => Promise<unknown>
}

/** What a call is to do instead of reaching the object; undefined: it reaches it. */
export type Intervention = (call: PendingCall) => Promise<unknown> | undefined

/** Device states that note each call, and in which one may intervene. */
export function watchStates(
  intervene: Intervention = () => undefined,
  settings: Partial<Env> = {},
): WatchedStates {
  const calls: ObjectCall[] = []
  const watched = (deviceId: string) =>
    new Proxy(env.DEVICE_STATE.getByName(deviceId), {
      get(target, property) {
        const method = String(property)
        return (...args: unknown[]): unknown => {
          calls.push({ method, deviceId })
          const member: unknown = Reflect.get(target, property, target)
          if (typeof member !== 'function') throw new TypeError(`no method ${method}`)
          const reach = (): Promise<unknown> => Reflect.apply(member, target, args)
          return intervene({ method, deviceId, args, reach }) ?? reach()
        }
      },
    })
  const states = new Proxy(env.DEVICE_STATE, {
    get(target, property) {
      if (property === 'getByName') return watched
      throw new Error(`${String(property)} of ${target.constructor.name} is not watched`)
    },
  })
  return { states, calls, env: { ...env, ...settings, DEVICE_STATE: states } }
}

export const fail = (): Promise<never> => Promise.reject(new Error('Network connection lost.'))
export const hang = (): Promise<never> => new Promise(() => undefined)

/** Sets the clock of the Worker and of its objects; `vi.useRealTimers()` ends it. */
export function setClock(time: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: time })
}

/** The same question that many times at once. */
export async function atOnce<Value>(times: number, ask: () => Promise<Value>): Promise<Value[]> {
  return await Promise.all(Array.from({ length: times }, ask))
}

/** How often each value is there. */
export function tally(values: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

/** The fields of a metered response. */
export function fieldsOf({ headers }: Answer) {
  return { policy: headers.get('ratelimit-policy'), reading: headers.get('ratelimit') }
}

/** A 429 of the contract: the problem, how the limit stands, when to come back. */
export function expectOverLimit(
  answer: Answer,
  code: 'rate_limited' | 'quota_exceeded',
  standing: { limit: number; remaining: number; reset_at: string | null },
  retryAfter: number,
): void {
  expect(answer.status).toBe(429)
  expect(answer.body).toEqual({
    type: `${ORIGIN}/problems/${code}`,
    title: expect.stringMatching(/\S/),
    status: 429,
    detail: expect.stringMatching(/\S/),
    instance: `/requests/${answer.headers.get('x-request-id')}`,
    code,
    ...standing,
  })
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  expect(answer.headers.get('retry-after')).toBe(String(retryAfter))
}

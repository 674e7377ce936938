import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, it } from 'vitest'
import { verifyKey } from '../../src/services/verify/verify-key.ts'
import { KeyCache } from '../../src/isolate/key-cache.ts'
import { call } from '../support/client.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { makeUser, type TestDevice, type TestUser, markUsed } from '../support/fixtures.ts'
import { contextAt, type Isolate, makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { execute } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const KEY_CACHE_MS = 10_000

let user: TestUser
let device: TestDevice
let here: Isolate
let elsewhere: Isolate

/** A device with these limits, and two isolates that have verified it. */
async function setUp(limits: WireLimits): Promise<void> {
  user = await makeUser()
  device = await makeLimitedDevice(user, { ...limits, scopes: ['a:*'] })
  await markUsed(device)
  const now = Date.now()
  here = makeIsolate(now)
  elsewhere = makeIsolate(now)
  for (const isolate of [here, elsewhere]) {
    expect(await isolate.codeOf(device.secret, { scopes: ['a:b'] })).toBe('valid')
    expect(isolate.statements).toHaveLength(1)
  }
}

/** Changes the key through the API, whose isolate is neither of the two. */
async function onKey(method: string, suffix: string, body?: unknown): Promise<void> {
  const path = `/v1/devices/${device.id}/keys/${device.keyId}${suffix}`
  const { status } = await call(method, path, { token: user.token, body })
  expect(status).toBeLessThan(300)
}

async function onDevice(method: string, body?: unknown): Promise<void> {
  const path = `/v1/devices/${device.id}`
  const { status } = await call(method, path, { token: user.token, body })
  expect(status).toBeLessThan(300)
}

const CHANGES: readonly (readonly [string, () => Promise<void>, string])[] = [
  ['revoking', () => onKey('DELETE', ''), 'revoked'],
  ['disabling the key', () => onKey('PATCH', '', { enabled: false }), 'disabled'],
  ['disabling the device', () => onDevice('PATCH', { enabled: false }), 'disabled'],
  [
    'disabling the owner',
    () => execute('update users set disabled_at = 1 where id = ?', user.id),
    'disabled',
  ],
  ['rotating with 0', () => onKey('POST', '/rotate', {}), 'revoked'],
  ['narrowing the scopes', () => onKey('PATCH', '', { scopes: ['a:c'] }), 'insufficient_scope'],
  [
    'shortening the expiry',
    () => onKey('PATCH', '', { expires_at: new Date(Date.now() + 5000).toISOString() }),
    'expired',
  ],
  ['deleting the device', () => onDevice('DELETE'), 'revoked'],
]

describe.each(KEY_KINDS)('the bound on a change of %s made elsewhere', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it.each(CHANGES)('holds for %s', async (_, change, denial) => {
    await change()
    const asked = { scopes: ['a:b'] }
    here.now += KEY_CACHE_MS
    expect(await here.codeOf(device.secret, asked)).toBe(denial)

    // Just inside the bound the old answer may still stand, and a refresh is under way.
    elsewhere.now += KEY_CACHE_MS - 1
    expect(await elsewhere.codeOf(device.secret, asked)).toBe('valid')
  })

  it.each(CHANGES)('does not apply to a fresh verify after %s', async (name, change, denial) => {
    await change()
    if (name === 'shortening the expiry') here.now += 6000
    const asked = { scopes: ['a:b'], fresh: true }
    expect(await here.codeOf(device.secret, asked)).toBe(denial)
    // And what it found stands for the others of its isolate.
    expect(await here.codeOf(device.secret, { scopes: ['a:b'] })).toBe(denial)
  })
})

describe.each(KEY_KINDS)('a change of %s made here', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it.each(CHANGES.filter(([name]) => name !== 'disabling the owner'))(
    'acts at once after %s',
    async (name, change, denial) => {
      const asked = { scopes: ['a:b'] }
      expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
      await change()
      const later = name === 'shortening the expiry' ? 6000 : 0
      const verified = await verifyKey(contextAt(Date.now() + later), {
        presented: device.secret,
        owner: 'any',
        ...asked,
      })
      expect(verified).toMatchObject({ valid: false, denial })
    },
  )
})

describe.each(KEY_KINDS)('a read of %s that lands after a change', (_, limits) => {
  beforeEach(async () => await setUp(limits))

  it('does not bring the old row back', async () => {
    const isolate = makeIsolate(Date.now())
    const gate = Promise.withResolvers<void>()
    const landed = Promise.withResolvers<void>()
    isolate.database = delayResults(env.DB, gate.promise, landed.resolve)

    const early = isolate.codeOf(device.secret)
    await landed.promise
    await execute('update api_keys set revoked_at = 1 where id = ?', device.keyId)
    isolate.cache.forget(device.keyId)
    gate.resolve()
    // It was asked before the revocation, so it may say so; but nobody after it may hear that.
    expect(await early).toBe('valid')
    isolate.database = env.DB
    expect(await isolate.codeOf(device.secret)).toBe('revoked')
  })

  it('is not answered from memory, if the read failed while the change came', async () => {
    const isolate = makeIsolate(Date.now())
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    const asked = Promise.withResolvers<void>()
    isolate.database = tapDatabase(env.DB, () => {
      asked.resolve()
      return new Promise(() => undefined)
    })
    isolate.now += KEY_CACHE_MS
    const late = isolate.verify(device.secret)
    await asked.promise
    isolate.cache.forget(device.keyId)
    await expect(late).rejects.toThrow('D1 did not answer in time')
  })

  it('keeps nobody else from being kept', async () => {
    const isolate = makeIsolate(Date.now())
    const gate = Promise.withResolvers<void>()
    const landed = Promise.withResolvers<void>()
    isolate.database = delayResults(env.DB, gate.promise, landed.resolve)
    const early = isolate.codeOf(device.secret)
    await landed.promise
    isolate.cache.forget('key_of_somebody_else')
    gate.resolve()
    expect(await early).toBe('valid')
    expect(isolate.cache.size).toBe(1)
  })

  it('does not bring it back after a later read, through an outage either', async () => {
    const isolate = makeIsolate(Date.now() + 1)
    const gate = Promise.withResolvers<void>()
    const landed = Promise.withResolvers<void>()
    const healthy = isolate.database
    isolate.database = delayResults(env.DB, gate.promise, landed.resolve)
    const early = isolate.codeOf(device.secret)
    await landed.promise
    await execute('update api_keys set revoked_at = 1 where id = ?', device.keyId)
    // The later read belongs to a request that began a millisecond earlier.
    isolate.now -= 1
    isolate.database = healthy
    expect(await isolate.codeOf(device.secret, { fresh: true })).toBe('revoked')
    gate.resolve()
    expect(await early).toBe('valid')
    isolate.database = withFailingDatabase().DB
    isolate.now += KEY_CACHE_MS + 1
    expect(await isolate.codeOf(device.secret)).toBe('revoked')
  })
})

describe('a cache of keys', () => {
  it('answers nothing of what was changed, and keeps its neighbours', () => {
    const cache = new KeyCache()
    const other = { ...SNAPSHOT, ownerId: 'user_y' }
    cache.keep('changed', SNAPSHOT, 1, cache.startRead())
    cache.keep('neighbour', other, 1, cache.startRead())
    cache.forget('user_x')
    expect(cache.get('changed')).toBeUndefined()
    expect(cache.get('neighbour')).toBeDefined()
    cache.keep('changed', SNAPSHOT, 1, cache.startRead())
    expect(cache.get('changed')).toBeDefined()
  })

  it('keeps no read when so many changes came between that its own may be forgotten', () => {
    const cache = new KeyCache()
    const read = cache.startRead()
    for (let change = 0; change < 10_001; change += 1) cache.forget(`key_${change}`)
    cache.keep('hash', SNAPSHOT, 1, read)
    expect(cache.get('hash')).toBeUndefined()
    cache.keep('hash', SNAPSHOT, 1, cache.startRead())
    expect(cache.get('hash')).toBeDefined()
  })
})

const SNAPSHOT = {
  secret: {
    expiresAt: null,
    revokedAt: null,
    isRetiredUseNoted: false,
    isFirstUseNoted: true,
    isReplacement: false,
    isImported: false,
  },
  ownerId: 'user_x',
  feedPosition: 0,
  policy: null,
}

/** A database whose reads take effect at once and answer only when the gate opens. */
function delayResults(database: D1Database, gate: Promise<void>, onRead: () => void): D1Database {
  const delayed = (statement: D1PreparedStatement): D1PreparedStatement =>
    new Proxy(statement, {
      get(target, property) {
        if (property === 'bind') return (...values: unknown[]) => delayed(target.bind(...values))
        const member: unknown = Reflect.get(target, property, target)
        if (typeof member !== 'function') return member
        return async (...args: unknown[]): Promise<unknown> => {
          const result: unknown = await Reflect.apply(member, target, args)
          onRead()
          await gate
          return result
        }
      },
    })
  return new Proxy(database, {
    get(target, property) {
      if (property === 'prepare') return (text: string) => delayed(target.prepare(text))
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

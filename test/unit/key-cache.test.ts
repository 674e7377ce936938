import { describe, expect, it } from 'vitest'
import { KeyCache } from '../../src/isolate/key-cache.ts'

/** A live key without scopes, which weighs 1, and a secret whose device is gone. */
const NO_SCOPES: readonly string[] = []
const KEY = {
  id: 'key_x',
  name: 'x',
  scopes: NO_SCOPES,
  expiresAt: null,
  disabledAt: null,
  revokedAt: null,
  limits: { rateLimit: null, quota: null },
}
const LIVE = {
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
  policy: {
    key: KEY,
    device: { id: 'dev_x', name: 'x', disabledAt: null },
    owner: { id: 'user_x', role: 'user', disabledAt: null },
  },
} as const
const TOMBSTONE = { ...LIVE, policy: null }

describe('the keys that an isolate remembers', () => {
  it('is bounded in memory: the least recently used goes first', () => {
    const cache = new KeyCache(2)
    cache.keep('a', LIVE, 1, cache.startRead())
    cache.keep('b', LIVE, 1, cache.startRead())
    cache.get('a')
    cache.keep('c', LIVE, 1, cache.startRead())
    expect(cache.size).toBe(2)
    expect(cache.get('b')).toBeUndefined()
    expect(cache.get('a')).toBeDefined()
  })

  it('a key weighs once in the cache, however often it is read anew', () => {
    const cache = new KeyCache(2)
    for (let readAt = 0; readAt < 10; readAt += 1) {
      cache.keep('a', LIVE, readAt, cache.startRead())
    }
    cache.keep('b', LIVE, 1, cache.startRead())
    expect(cache.size).toBe(2)
  })

  it('is bounded by what keys weigh, too', () => {
    const cache = new KeyCache(10)
    const scopes = Array.from({ length: 64 }, () => 'x'.repeat(125))
    const heavy = { ...LIVE, policy: { ...LIVE.policy, key: { ...KEY, scopes } } }
    for (const hash of ['a', 'b', 'c']) cache.keep(hash, heavy, 1, cache.startRead())
    expect(cache.size).toBe(1)
    expect(cache.get('c')).toBeDefined()
    cache.drop('c')
    cache.drop('c')
    for (const hash of ['d', 'e']) cache.keep(hash, LIVE, 1, cache.startRead())
    expect(cache.size).toBe(2)
  })

  it('keeps dead secrets apart, so that they push no live key out', () => {
    const cache = new KeyCache(2)
    cache.keep('live', LIVE, 1, cache.startRead())
    for (let dead = 0; dead < 3000; dead += 1) {
      const snapshot = dead % 2 === 0 ? TOMBSTONE : undefined
      cache.keep(`dead ${dead}`, snapshot, 1, cache.startRead())
    }
    expect(cache.get('live')).toBeDefined()
    expect(cache.get('dead 2999')).toBeDefined()
    expect(cache.get('dead 999')).toBeUndefined()
  })

  it('moves a secret that has died to the dead, and is not found twice', () => {
    const cache = new KeyCache(2)
    cache.keep('a', LIVE, 1, cache.startRead())
    cache.keep('a', TOMBSTONE, 2, cache.startRead())
    expect(cache.size).toBe(0)
    expect(cache.get('a')?.snapshot).toEqual(TOMBSTONE)
    cache.forget('user_x')
    expect(cache.get('a')).toBeUndefined()
  })
})

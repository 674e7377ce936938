import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DeviceTokenClaims } from '../../src/domain/device-token.ts'
import { Lru } from '../../src/isolate/lru.ts'
import { TokenCache } from '../../src/isolate/token-cache.ts'

describe('a bounded, weighted map', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const step = fc.oneof(
    fc.record({ do: fc.constant('set' as const), key, weight: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ do: fc.constantFrom('get' as const, 'peek' as const, 'delete' as const), key }),
  )

  it('keeps what a plain list, most recently used last, would keep', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const capacity = 6
        const lru = new Lru<number>(capacity, (weight) => weight)
        let list: { readonly key: string; readonly weight: number }[] = []
        const without = (name: string) => list.filter((entry) => entry.key !== name)
        for (const taken of steps) {
          const known = list.find((entry) => entry.key === taken.key)
          if (taken.do === 'set') {
            lru.set(taken.key, taken.weight)
            list = [...without(taken.key), { key: taken.key, weight: taken.weight }]
            while (list.reduce((sum, { weight }) => sum + weight, 0) > capacity) list.shift()
          } else if (taken.do === 'delete') {
            lru.delete(taken.key)
            list = without(taken.key)
          } else {
            expect(lru[taken.do](taken.key)).toBe(known?.weight)
            if (taken.do === 'get' && known) list = [...without(taken.key), known]
          }
          expect([...lru.entries()]).toEqual(list.map((entry) => [entry.key, entry.weight]))
          expect(lru.weight).toBe(list.reduce((sum, { weight }) => sum + weight, 0))
        }
      }),
    )
  })
})

const claims = (scopes: readonly string[]): DeviceTokenClaims => ({
  tokenId: 'token',
  deviceId: 'dev_1',
  deviceName: 'sensor',
  keyId: 'key_1',
  keyName: 'default',
  ownerId: 'user_1',
  ownerRole: 'user',
  secretHash: 'hash',
  scopes,
  audiences: ['https://latchkey.example'],
  feedPosition: 0,
  isMetered: false,
  issuedAt: 0,
  expiresAt: 900,
})

describe('the device tokens that an isolate remembers', () => {
  it('are 10,000 of ordinary size', () => {
    const cache = new TokenCache()
    for (let token = 0; token < 10_500; token += 1) cache.keep(`${token}`, claims(['telemetry:a']))
    expect(cache.size).toBe(10_000)
    expect(cache.get('499')).toBeUndefined()
    expect(cache.get('500')).toBeDefined()
  })

  it('hold at most ten million characters, however large each is', () => {
    const largest = claims(Array.from({ length: 64 }, (_, scope) => `${scope}`.padEnd(128, 'x')))
    const cache = new TokenCache()
    for (let token = 0; token < 10_000; token += 1) cache.keep(`${token}`, largest)
    expect(cache.size * 64 * 128).toBeLessThan(10_000_000)
    expect(cache.size).toBeGreaterThan(1000)
  })
})

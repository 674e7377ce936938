import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { KeySnapshot } from '../../src/domain/evaluate-key.ts'
import { KeyCache } from '../../src/isolate/key-cache.ts'
import { call } from '../support/client.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { makeUser, type TestDevice, markUsed } from '../support/fixtures.ts'
import { type Isolate, makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice, type WireLimits } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { claimsOf, resigned } from '../support/tokens.ts'

/** A secret is asked about anew after this time, and the feed of revocations for tokens. */
const POLL_MS = 10_000
const STALE_MS = 300_000
const TOKEN_MS = 900_000
/** How far apart the feed takes clocks to be at most. */
const CLOCK_SLACK_MS = 120_000

const CREDENTIALS: readonly (readonly [string, (device: TestDevice) => Promise<string>])[] = [
  ['secret', async ({ secret }) => await Promise.resolve(secret)],
  ['token', async (device) => await fetchToken(device)],
]

const CASES = KEY_KINDS.flatMap(([kind, limits]) =>
  CREDENTIALS.map(([name, of]) => [`${name} of ${kind}`, limits, of] as const),
)

async function setUp(limits: WireLimits) {
  const user = await makeUser()
  const device = await makeLimitedDevice(user, limits)
  const revoke = async () => {
    const path = `/v1/devices/${device.id}/keys/${device.keyId}`
    expect((await call('DELETE', path, { token: user.token })).status).toBe(204)
  }
  return { user, device, revoke }
}

/** An isolate that has asked D1 again and again, from now on: each time when it just had to. */
async function makeOldIsolate(presented: string, now: number): Promise<Isolate> {
  const isolate = makeIsolate(now)
  expect(await isolate.codeOf(presented)).toBe('valid')
  for (let refresh = 0; refresh < 30; refresh += 1) {
    isolate.now += POLL_MS
    expect(await isolate.codeOf(presented)).toBe('valid')
  }
  return isolate
}

describe.each(CASES)('after 30 refreshes the %s', (_, limits, credentialOf) => {
  it('costs no more reads than one refresh each', async () => {
    const { device } = await setUp(limits)
    await markUsed(device)
    const presented = await credentialOf(device)
    const cold = makeIsolate(Date.now())
    expect(await cold.codeOf(presented)).toBe('valid')
    const old = await makeOldIsolate(presented, Date.now())
    expect(old.statements).toHaveLength(31 * cold.statements.length)
  })

  it('may still pass within the bound of a revocation, and not at it', async () => {
    const { device, revoke } = await setUp(limits)
    const presented = await credentialOf(device)
    const now = Date.now()
    const inside = await makeOldIsolate(presented, now)
    const outside = await makeOldIsolate(presented, now)
    await revoke()
    inside.now += POLL_MS - 1
    expect(await inside.codeOf(presented)).toBe('valid')
    outside.now += POLL_MS
    expect(await outside.codeOf(presented)).toBe('revoked')
  })

  it('outlives an outage by the stale bound, counted from the last read that landed', async () => {
    const presented = await credentialOf((await setUp(limits)).device)
    const isolate = await makeOldIsolate(presented, Date.now())
    const landed = isolate.now
    const healthy = isolate.database
    isolate.database = withFailingDatabase().DB
    // What fails meanwhile moves nothing.
    for (let age = POLL_MS; age < STALE_MS; age += POLL_MS - 1) {
      isolate.now = landed + age
      expect(await isolate.codeOf(presented)).toBe('valid')
    }
    isolate.now = landed + STALE_MS - 1
    expect(await isolate.codeOf(presented)).toBe('valid')
    isolate.now = landed + STALE_MS
    await expect(isolate.codeOf(presented)).rejects.toThrow(/^D1 /)
    isolate.database = healthy
    isolate.now += 1100
    expect(await isolate.codeOf(presented)).toBe('valid')
  })
})

describe.each(KEY_KINDS)('a token of %s', (_, limits) => {
  it('passes poll period by poll period to its end, and is expired at it', async () => {
    const token = await fetchToken((await setUp(limits)).device)
    const end = Number(claimsOf(token)['exp']) * 1000
    const isolate = makeIsolate(end - TOKEN_MS)
    while (isolate.now < end) {
      expect(await isolate.codeOf(token)).toBe('valid')
      isolate.now += POLL_MS
    }
    isolate.now = end - 1
    expect(await isolate.codeOf(token)).toBe('valid')
    const before = isolate.statements.length
    for (const later of [0, 1, POLL_MS, STALE_MS]) {
      isolate.now = end + later
      expect(await isolate.codeOf(token)).toBe('expired')
    }
    // What has expired needs no feed.
    expect(isolate.statements).toHaveLength(before)
  })

  it('that was revoked halfway is not good again at any poll of what is left', async () => {
    const { device, revoke } = await setUp(limits)
    const token = await fetchToken(device)
    const end = Number(claimsOf(token)['exp']) * 1000
    const isolate = await makeOldIsolate(token, Date.now())
    await revoke()
    while (isolate.now + POLL_MS < end) {
      isolate.now += POLL_MS
      expect(await isolate.codeOf(token)).toBe('revoked')
    }
    isolate.now = end - 1
    expect(await isolate.codeOf(token)).toBe('revoked')
    expect(await makeIsolate(end - 1).codeOf(token)).toBe('revoked')
  })
})

describe('the feed of revocations in an isolate that polls for two hours', () => {
  it('remembers an end while a token may live that it concerns, and no longer', async () => {
    const token = await fetchToken((await setUp({})).device)
    const isolate = makeIsolate(Date.now())
    const ends: { readonly keyId: string; readonly at: number }[] = []
    /** A token of this moment that has seen nothing of the feed. */
    const probe = async ({ now }: Isolate, keyId: string) =>
      await resigned(token, {
        key_id: keyId,
        feed: 0,
        iat: Math.floor(now / 1000),
        exp: Math.floor(now / 1000) + 60,
      })
    const expectMemoryOf = async (asked: Isolate) => {
      for (const { keyId, at } of ends) {
        const matters = asked.now - at < TOKEN_MS + CLOCK_SLACK_MS
        const code = await asked.codeOf(await probe(asked, keyId))
        expect([keyId, code]).toEqual([keyId, matters ? 'revoked' : 'valid'])
      }
    }
    for (let poll = 0; poll < 120; poll += 1) {
      isolate.now += 60_000
      const [keyId, at] = [`key_${poll}`, isolate.now - 500]
      await execute('insert into revocations (subject, at) values (?, ?)', keyId, at)
      ends.push({ keyId, at })
      const before = isolate.statements.length
      expect(await isolate.codeOf(await probe(isolate, keyId))).toBe('revoked')
      expect(isolate.statements).toHaveLength(before + 1)
    }
    await expectMemoryOf(isolate)
    // And so does one that asks for the first time.
    await expectMemoryOf(makeIsolate(isolate.now))
  })
})

/** What one does with a cache of keys: with which of six secrets, and how heavy its key is. */
const STEPS = fc.array(
  fc.record({
    deed: fc.constantFrom('keep', 'keep', 'keep', 'get', 'drop', 'forget', 'note'),
    hash: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    weight: fc.integer({ min: 1, max: 4 }),
  }),
  { minLength: 1, maxLength: 200, size: 'max' },
)

function snapshotOf(hash: string, weight: number): KeySnapshot {
  return {
    secret: {
      expiresAt: null,
      revokedAt: null,
      isRetiredUseNoted: false,
      isFirstUseNoted: true,
      isReplacement: false,
      isImported: false,
    },
    ownerId: `user_${hash}`,
    feedPosition: 0,
    policy: {
      key: {
        id: `key_${hash}`,
        name: 'x',
        scopes: Array.from({ length: weight - 1 }, () => 'x'.repeat(1000)),
        expiresAt: null,
        disabledAt: null,
        revokedAt: null,
        limits: { rateLimit: null, quota: null },
      },
      device: { id: `dev_${hash}`, name: 'x', disabledAt: null },
      owner: { id: `user_${hash}`, role: 'user', disabledAt: null },
    },
  }
}

describe('a cache of keys that is used for long', () => {
  it('holds what a plain list of the last used would, however often it is refreshed', () => {
    fc.assert(
      fc.property(STEPS, (steps) => {
        const cache = new KeyCache(6)
        let held: { readonly hash: string; readonly weight: number }[] = []
        const weightHeld = () => held.reduce((sum, { weight }) => sum + weight, 0)
        for (const [now, { deed, hash, weight }] of steps.entries()) {
          const known = held.find((entry) => entry.hash === hash)
          const others = held.filter((entry) => entry.hash !== hash)
          if (deed === 'keep') {
            cache.keep(hash, snapshotOf(hash, weight), now, cache.startRead())
            held = [...others, { hash, weight }]
            while (weightHeld() > 6) held = held.slice(1)
          } else if (deed === 'get') {
            expect(cache.get(hash) === undefined).toBe(known === undefined)
            held = known === undefined ? held : [...others, known]
          } else if (deed === 'note') {
            cache.noteRefresh(hash, now)
            cache.noteUse(hash, 'isRetiredUseNoted')
          } else {
            if (deed === 'drop') cache.drop(hash)
            else cache.forget(`user_${hash}`)
            // What was changed keeps its place until it is asked for.
            expect(cache.get(hash)).toBeUndefined()
            held = others
          }
          expect(cache.size).toBe(held.length)
        }
        for (const { hash } of held) expect(cache.get(hash)).toBeDefined()
      }),
      { numRuns: 200 },
    )
  })
})

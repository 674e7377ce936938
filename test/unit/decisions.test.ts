import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evaluateKey, type KeyPolicySnapshot } from '../../src/domain/evaluate-key.ts'
import type { MeterDecision } from '../../src/domain/meter.ts'
import { isProblemCode, problemOfDenial, PROBLEMS } from '../../src/http/problems.ts'
import { limitHeaders, retryAfter } from '../../src/http/limit-headers.ts'

const NOW = 1_800_000_000_000

type Marks = 'secretRevoked' | 'keyRevoked' | 'secretEnd' | 'keyEnd' | 'key' | 'device' | 'owner'

/** Zero, a time like any other, stands for one in the past where a test does not say. */
function snapshot(marks: Partial<Record<Marks, number>>) {
  const key = {
    id: 'key_1',
    name: 'first',
    scopes: ['telemetry:write'],
    expiresAt: marks.keyEnd ?? null,
    disabledAt: marks.key ?? null,
    revokedAt: marks.keyRevoked ?? null,
    limits: { rateLimit: null, quota: null },
  }
  const policy: KeyPolicySnapshot = {
    key,
    device: { id: 'dev_1', name: 'Door', disabledAt: marks.device ?? null },
    owner: { id: 'user_1', role: 'user', disabledAt: marks.owner ?? null },
  }
  const secret = {
    expiresAt: marks.secretEnd ?? null,
    revokedAt: marks.secretRevoked ?? null,
    isRetiredUseNoted: false,
    isFirstUseNoted: true,
    isReplacement: false,
    isImported: false,
  }
  return { secret, ownerId: 'user_1', feedPosition: 0, policy }
}

describe('evaluateKey', () => {
  it('allows what has no end, and what ends in a millisecond', () => {
    for (const given of [snapshot({}), snapshot({ secretEnd: NOW + 1, keyEnd: NOW + 1 })]) {
      expect(evaluateKey(given, {}, NOW, [])).toEqual({ ok: true, value: given.policy })
    }
  })

  it.each<[string, Marks, number]>([
    ['revoked', 'secretRevoked', 0],
    ['revoked', 'keyRevoked', 0],
    ['revoked', 'keyRevoked', NOW],
    ['expired', 'secretEnd', NOW],
    ['expired', 'keyEnd', NOW],
    ['expired', 'secretEnd', 0],
    ['expired', 'keyEnd', NOW - 1],
    ['disabled', 'key', 0],
    ['disabled', 'device', 0],
    ['disabled', 'owner', 0],
  ])('%s by %s at %d', (reason, mark, at) => {
    expect(evaluateKey(snapshot({ [mark]: at }), { scopes: ['other'] }, NOW, [])).toEqual({
      ok: false,
      reason,
    })
  })

  it('says revoked before expired before disabled, whatever comes together', () => {
    const order: [string, Marks[]][] = [
      ['revoked', ['secretRevoked', 'keyRevoked']],
      ['expired', ['secretEnd', 'keyEnd']],
      ['disabled', ['key', 'device', 'owner']],
    ]
    const all = order.flatMap(([, marks]) => marks)
    fc.assert(
      fc.property(fc.subarray(all, { minLength: 1 }), (marks) => {
        const given = snapshot(Object.fromEntries(marks.map((mark) => [mark, 0])))
        const first = order.find(([, group]) => group.some((mark) => marks.includes(mark)))
        expect(evaluateKey(given, {}, NOW, [])).toEqual({ ok: false, reason: first?.[0] })
      }),
      { numRuns: 300 },
    )
  })

  it('says revoked of a tombstone, whatever else is known of its secret', () => {
    const secret = {
      expiresAt: null,
      revokedAt: null,
      isRetiredUseNoted: false,
      isFirstUseNoted: true,
      isReplacement: false,
      isImported: false,
    }
    for (const known of [secret, { ...secret, expiresAt: 0 }, { ...secret, revokedAt: 0 }]) {
      const tombstone = { secret: known, ownerId: 'user_1', feedPosition: 0, policy: null }
      expect(evaluateKey(tombstone, {}, NOW, [])).toEqual({ ok: false, reason: 'revoked' })
    }
  })

  it('asks last for the scopes, all of them', () => {
    const denied = { ok: false, reason: 'insufficient_scope' }
    expect(evaluateKey(snapshot({}), { scopes: ['telemetry:write'] }, NOW, [])).toMatchObject({
      ok: true,
    })
    expect(evaluateKey(snapshot({}), { scopes: ['telemetry:write', 'other'] }, NOW, [])).toEqual(
      denied,
    )
  })
})

/** A decision on a limit of 5 whose window ends at that time. */
const endingAt = (time: number): MeterDecision => ({
  refusedBy: 'rate_limited',
  rateLimit: { limit: 5, remaining: 0, resetAt: time },
  quota: null,
  retryAt: time,
})

describe('a refusal by an object whose clock is another', () => {
  it.each([
    [1001, '2'],
    [1000, '1'],
    [1, '1'],
    [0, '1'],
    [-1, '1'],
    [-60_000, '1'],
  ])('that ends %d ms from now says Retry-After: %s', (later, seconds) => {
    expect(retryAfter(endingAt(NOW + later), NOW)).toBe(seconds)
  })

  it.each([
    [-1, 0],
    [59_001, 60],
    [60_000, 60],
    [60_001, 60],
    [600_000, 60],
  ])('whose window of 60 s ends %d ms from now says t=%d', (later, seconds) => {
    const policy = { rateLimit: { limit: 5, windowSeconds: 60 }, quota: null }
    expect(limitHeaders(policy, endingAt(NOW + later), NOW)).toEqual({
      'RateLimit-Policy': '"rate";q=5;w=60',
      RateLimit: `"rate";r=0;t=${seconds}`,
    })
  })
})

describe('problems', () => {
  it.each(Object.entries(PROBLEMS))('%s is well formed', (code, { status, title, meaning }) => {
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/)
    expect([400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503]).toContain(status)
    // The title goes into WWW-Authenticate between quotes (RFC 6750 §3: error_description).
    expect(title).toMatch(/^[\x20\x21\x23-\x5B\x5D-\x7E]+$/)
    expect(meaning).toMatch(/\.$/)
  })

  it('says each denial in its own word, but for what was never issued', () => {
    expect(problemOfDenial('not_found')).toBe('invalid_credential')
    const denials = ['revoked', 'expired', 'disabled', 'insufficient_scope'] as const
    for (const denial of [...denials, 'rate_limited', 'quota_exceeded'] as const) {
      expect(problemOfDenial(denial)).toBe(denial)
    }
  })

  it('knows its own codes only', () => {
    expect(isProblemCode('not_found')).toBe(true)
    for (const code of ['not-found', '', 'toString', '__proto__', 'constructor']) {
      expect(isProblemCode(code)).toBe(false)
    }
  })
})

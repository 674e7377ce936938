import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  coversScope,
  coversScopes,
  isHoldableScope,
  isLiteralScope,
  narrowsScopes,
  needsAdmin,
  verifierReach,
} from '../../src/domain/scopes.ts'

const segment = fc.stringMatching(/^[A-Za-z0-9_.-]{1,4}$/)
const few = fc.constantFrom('a', 'b', 'keys', 'verify', 'telemetry')
const literal = fc
  .array(fc.oneof(few, segment), { minLength: 1, maxLength: 5 })
  .map((segments) => segments.join(':'))
const wildcard = fc.array(few, { maxLength: 3 }).map((segments) => [...segments, '*'].join(':'))
const held = fc.oneof(literal, wildcard)

/** The rule, slowly and obviously: segment by segment. */
function slowlyCovers(held: string, asked: string): boolean {
  const have = held.split(':')
  const want = asked.split(':')
  if (have.at(-1) !== '*') return have.length === want.length && have.every((s, i) => s === want[i])
  if (want[0] === 'keys' && want.length > 1) return false
  const fixed = have.slice(0, -1)
  return want.length > fixed.length && fixed.every((segment, index) => segment === want[index])
}

describe('scopes', () => {
  it('cover what the slow rule says', () => {
    fc.assert(
      fc.property(held, literal, (have, want) => {
        expect(coversScope(have, want, [])).toBe(slowlyCovers(have, want))
      }),
      { numRuns: 2000 },
    )
  })

  it('are reflexive for literals', () => {
    fc.assert(fc.property(literal, (scope) => coversScope(scope, scope, [])))
  })

  it('are transitive: what a covered literal covers is covered', () => {
    fc.assert(
      fc.property(held, literal, literal, (a, b, c) => {
        if (coversScope(a, b, []) && coversScope(b, c, [])) expect(coversScope(a, c, [])).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('of keys: are covered by nothing but the literal', () => {
    fc.assert(
      fc.property(held, literal, (have, rest) => {
        const asked = `keys:${rest}`
        expect(coversScope(have, asked, [])).toBe(have === asked)
      }),
      { numRuns: 2000 },
    )
  })

  it('cover nothing more by being longer', () => {
    fc.assert(
      fc.property(literal, literal, literal, (prefix, more, asked) => {
        if (coversScope(`${prefix}:${more}:*`, asked, [])) {
          expect(coversScope(`${prefix}:*`, asked, []) || asked.startsWith('keys:')).toBe(true)
        }
        expect(coversScope(`${prefix}:${more}`, prefix, [])).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })

  it.each([
    ['telemetry:*', 'telemetry:write', true],
    ['telemetry:*', 'telemetry:a:b', true],
    ['telemetry:*', 'telemetry', false],
    ['telemetry:*', 'telemetryx:a', false],
    ['telemetry:*', 'telemetry:', false],
    ['telemetry:*', 'telemetry:*', false],
    ['*', 'anything:at:all', true],
    ['*', 'keys:verify', false],
    ['*', 'keys', true],
    ['*', '*', false],
    ['*', '', false],
    ['a', 'A', false],
    ['keys:verify', 'keys:verify', true],
    ['keys:verify', 'keys:verify-all', false],
  ])('%s covers %s: %s', (have, want, covered) => {
    expect(coversScope(have, want, [])).toBe(covered)
  })

  it.each([
    ['a', true, true],
    ['a:b.c:d_e-f', true, true],
    ['*', true, false],
    ['a:*', true, false],
    ['a:*:b', false, false],
    ['a*', false, false],
    ['*a', false, false],
    ['a::b', false, false],
    [':a', false, false],
    ['a:', false, false],
    ['', false, false],
    ['a b', false, false],
    ['a\n', false, false],
    ['ä', false, false],
    ['keys:*', false, false],
    ['keys:verify', true, true],
    ['keys:verify-all', true, true],
    ['keys:rotate', false, true],
    ['a'.repeat(128), true, true],
    ['a'.repeat(129), false, false],
  ])('%j may be held: %s, asked for: %s', (scope, holdable, askable) => {
    expect(isHoldableScope(scope)).toBe(holdable)
    expect(isLiteralScope(scope)).toBe(askable)
  })

  it('are all needed, and none held covers none', () => {
    expect(coversScopes(['a', 'b:*'], ['a', 'b:c'], [])).toBe(true)
    expect(coversScopes(['a', 'b:*'], ['a', 'c'], [])).toBe(false)
    expect(coversScopes([], ['a'], [])).toBe(false)
    expect(coversScopes([], [], [])).toBe(true)
  })

  it('may be given to a key by anybody, but for keys:verify-all and what is reserved', () => {
    for (const scope of ['*', 'a:*', 'a', 'keys:verify', 'keys:verify-alls', 'billings:read']) {
      expect(needsAdmin(scope, ['billing:*', 'b'])).toBe(false)
    }
    for (const scope of ['keys:verify-all', 'billing:read', 'billing:eu:read', 'billing:*', 'b']) {
      expect(needsAdmin(scope, ['billing:*', 'b'])).toBe(true)
    }
  })

  it.each([
    ['billing:*', 'billing:read', false],
    ['*', 'billing:read', false],
    ['billing:read', 'billing:read', true],
    ['*', 'billing', true],
    ['*', 'other:read', true],
    ['metrics:*', 'metrics:read', false],
    ['metrics:read', 'metrics:read', true],
    ['metrics:*', 'metrics:readings', true],
  ])('of which billing:* is reserved: %s held covers %s: %s', (held, asked, covered) => {
    expect(coversScope(held, asked, ['billing:*'])).toBe(covered)
    expect(narrowsScopes([held], [asked], ['billing:*'])).toBe(covered)
  })

  it('say whose devices may be verified', () => {
    expect(verifierReach(['keys:verify'], 'admin')).toBe('own')
    expect(verifierReach(['keys:verify-all'], 'admin')).toBe('all')
    expect(verifierReach(['keys:verify-all'], 'user')).toBeUndefined()
    expect(verifierReach(['keys:verify-all', 'keys:verify'], 'user')).toBe('own')
    expect(verifierReach(['*'], 'admin')).toBeUndefined()
  })
})

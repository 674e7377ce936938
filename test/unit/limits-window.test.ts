import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chargeMeter, type MeterPolicy, type MeterState, UNSPENT } from '../../src/domain/meter.ts'

const START = Date.UTC(2026, 6, 14, 12, 0, 0, 123)

type Step = { readonly wait: number; readonly cost: number }
type Grant = { readonly at: number; readonly cost: number }

/** Gaps from none to several windows: bursts, trickles and silences. */
const waitWithin = (windowMs: number) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0, max: Math.ceil(windowMs / 200) }) },
    { weight: 4, arbitrary: fc.integer({ min: 0, max: Math.ceil(windowMs / 10) }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 * windowMs }) },
    { weight: 2, arbitrary: fc.constantFrom(0, 1, windowMs / 100, windowMs - 1, windowMs) },
  )

/** Small costs mostly; some none, some near the limit or over it. */
const costUpTo = (limit: number) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 1, max: Math.max(1, Math.floor(limit / 3)) }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: limit + 2 }) },
    { weight: 1, arbitrary: fc.constantFrom(0, 1) },
  )

const scene = fc
  .record({
    limit: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 1_000_000 })),
    windowSeconds: fc.oneof(fc.constantFrom(1, 60, 86_400), fc.integer({ min: 1, max: 86_400 })),
  })
  .chain(({ limit, windowSeconds }) =>
    fc.record({
      policy: fc.constant<MeterPolicy>({ rateLimit: { limit, windowSeconds }, quota: null }),
      limit: fc.constant(limit),
      windowMs: fc.constant(windowSeconds * 1000),
      steps: fc.array(
        fc.record<Step>({ wait: waitWithin(windowSeconds * 1000), cost: costUpTo(limit) }),
        { minLength: 1, maxLength: 200, size: 'max' },
      ),
    }),
  )

/** What was granted in the window that ends at a time: its start is out, its end is in. */
function grantedIn(grants: readonly Grant[], end: number, windowMs: number): number {
  return grants
    .filter(({ at }) => at > end - windowMs && at <= end)
    .reduce((sum, { cost }) => sum + cost, 0)
}

/** Plays the steps; `seen` gets the state before each and what was decided. */
function play(
  policy: MeterPolicy,
  steps: readonly Step[],
  seen: (
    before: MeterState,
    step: Step,
    now: number,
    charged: ReturnType<typeof chargeMeter>,
  ) => void = () => undefined,
): Grant[] {
  let state = UNSPENT
  let now = START
  const grants: Grant[] = []
  for (const step of steps) {
    now += step.wait
    const charged = chargeMeter(state, policy, step.cost, now)
    seen(state, step, now, charged)
    state = charged.state
    if (charged.decision.refusedBy === null) grants.push({ at: now, cost: step.cost })
  }
  return grants
}

describe('a sliding window', () => {
  it('never holds more than its limit, whatever the clock and the costs', () => {
    fc.assert(
      fc.property(scene, ({ policy, limit, windowMs, steps }) => {
        const grants = play(policy, steps)
        for (const { at } of grants) {
          expect(grantedIn(grants, at, windowMs)).toBeLessThanOrEqual(limit)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('refuses no more than a hundredth of the window too long', () => {
    fc.assert(
      fc.property(scene, ({ policy, limit, windowMs, steps }) => {
        const grants: Grant[] = []
        play(policy, steps, (_, { cost }, now, { decision }) => {
          if (decision.refusedBy === null) grants.push({ at: now, cost })
          // A log that forgets nothing too early, with the slack that a bucket may have.
          else {
            const slack = Math.ceil(windowMs / 100)
            expect(grantedIn(grants, now, windowMs + slack) + cost).toBeGreaterThan(limit)
          }
        })
      }),
      { numRuns: 300 },
    )
  })

  it('says of each refusal when a retry passes: not a millisecond too early or too late', () => {
    let refusals = 0
    fc.assert(
      fc.property(scene, ({ policy, limit, steps }) => {
        play(policy, steps, (_, { cost }, now, { state, decision }) => {
          const { refusedBy, retryAt } = decision
          if (refusedBy === null) return expect(retryAt).toBeNull()
          refusals += 1
          expect(refusedBy).toBe('rate_limited')
          expect(decision.rateLimit?.resetAt).toBe(retryAt)
          if (retryAt === null) return expect(cost).toBeGreaterThan(limit)
          expect(cost).toBeLessThanOrEqual(limit)
          expect(retryAt).toBeGreaterThan(now)
          const retry = (at: number) => chargeMeter(state, policy, cost, at).decision.refusedBy
          expect(retry(retryAt - 1)).toBe('rate_limited')
          expect(retry(retryAt)).toBeNull()
        })
      }),
      { numRuns: 300 },
    )
    expect(refusals).toBeGreaterThan(1000)
  })

  it('tells truly what remains, and when something comes back', () => {
    fc.assert(
      fc.property(scene, ({ policy, limit, steps }) => {
        play(policy, steps, (_, __, now, { state, decision }) => {
          const { remaining = -1, resetAt } = decision.rateLimit ?? {}
          expect(remaining).toBeGreaterThanOrEqual(0)
          expect(remaining).toBeLessThanOrEqual(limit)
          const ask = (cost: number, at = now) => chargeMeter(state, policy, cost, at).decision
          expect(ask(0).rateLimit?.remaining).toBe(remaining)
          expect(ask(remaining).refusedBy).toBeNull()
          expect(ask(remaining + 1).refusedBy).toBe('rate_limited')
          if (decision.refusedBy !== null) return
          if (resetAt === null || resetAt === undefined) return expect(remaining).toBe(limit)
          expect(ask(0, resetAt - 1).rateLimit?.remaining).toBe(remaining)
          expect(ask(0, resetAt).rateLimit?.remaining).toBeGreaterThan(remaining)
        })
      }),
      { numRuns: 200 },
    )
  })

  it('charges nothing for a cost of 0, and never refuses it', () => {
    fc.assert(
      fc.property(scene, ({ policy, steps }) => {
        play(policy, steps, (_, __, now, { state, decision }) => {
          const asked = chargeMeter(state, policy, 0, now)
          expect(asked.decision).toMatchObject({ refusedBy: null, retryAt: null })
          expect(asked.decision.rateLimit?.remaining).toBe(decision.rateLimit?.remaining)
          expect(chargeMeter(asked.state, policy, 0, now)).toEqual(asked)
        })
      }),
      { numRuns: 100 },
    )
  })

  it('asked between charges, decides as if nobody had asked', () => {
    fc.assert(
      fc.property(scene, ({ policy, steps }) => {
        const asking = steps.flatMap((step) => [{ wait: 0, cost: 0 }, step, { wait: 0, cost: 0 }])
        const spending = play(policy, asking).filter(({ cost }) => cost > 0)
        expect(spending).toEqual(play(policy, steps).filter(({ cost }) => cost > 0))
      }),
      { numRuns: 100 },
    )
  })

  it('spends nothing where it refuses', () => {
    const policy = { rateLimit: { limit: 10, windowSeconds: 60 }, quota: null }
    let { state } = chargeMeter(UNSPENT, policy, 8, START)
    for (let again = 0; again < 50; again += 1) {
      const refused = chargeMeter(state, policy, 3, START + again)
      expect(refused.decision).toMatchObject({
        refusedBy: 'rate_limited',
        rateLimit: { limit: 10, remaining: 2, resetAt: START + 60_000 },
      })
      ;({ state } = refused)
    }
    expect(chargeMeter(state, policy, 2, START + 50).decision.refusedBy).toBeNull()
  })

  it('is not two weighted windows: the limit late in one and early in the next do not pass', () => {
    const policy = { rateLimit: { limit: 100, windowSeconds: 60 }, quota: null }
    const boundary = Date.UTC(2026, 6, 14, 12, 1)
    const { state } = chargeMeter(UNSPENT, policy, 100, boundary - 1)
    for (const later of [0, 1, 30_000, 59_998]) {
      expect(chargeMeter(state, policy, 1, boundary + later).decision.refusedBy).toBe(
        'rate_limited',
      )
    }
    expect(chargeMeter(state, policy, 100, boundary + 59_999).decision.refusedBy).toBeNull()
  })

  it('keeps at most 200 buckets, whatever the limit', () => {
    fc.assert(
      fc.property(scene, ({ policy, steps }) => {
        play(policy, steps, (_, __, ___, { state }) => {
          expect(state.window.length).toBeLessThanOrEqual(200)
        })
      }),
      { numRuns: 100 },
    )
    // A million within one window, a thousand a millisecond apart and more.
    const busy = { rateLimit: { limit: 1_000_000, windowSeconds: 60 }, quota: null }
    let state = UNSPENT
    for (let at = START; at < START + 120_000; at += 37) {
      ;({ state } = chargeMeter(state, busy, 300, at))
      expect(state.window.length).toBeLessThanOrEqual(102)
    }
    expect(JSON.stringify(state).length).toBeLessThan(5000)
  })
})

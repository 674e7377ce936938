import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chargeMeter, type MeterPolicy, UNSPENT } from '../../src/domain/meter.ts'

const START = Date.UTC(2026, 6, 14, 12, 0, 0)

const rateLimit = fc.record({
  limit: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 1_000_000 })),
  windowSeconds: fc.oneof(fc.constantFrom(1, 2, 60), fc.integer({ min: 1, max: 86_400 })),
})
const quota = fc.record({
  limit: fc.integer({ min: 1, max: 60 }),
  period: fc.constantFrom('hour' as const, 'day' as const, 'month' as const, 'total' as const),
})
const steps = fc.array(
  fc.record({
    wait: fc.oneof(
      fc.integer({ min: 0, max: 50 }),
      fc.integer({ min: 0, max: 5000 }),
      fc.integer({ min: 0, max: 86_400_000 }),
    ),
    cost: fc.integer({ min: 0, max: 20 }),
  }),
  { minLength: 1, maxLength: 150, size: 'max' },
)

/** How much is left of each limit: what a request of no cost is told. */
function leftOf(state: typeof UNSPENT, policy: MeterPolicy, now: number) {
  const { decision } = chargeMeter(state, policy, 0, now)
  return { rate: decision.rateLimit?.remaining, quota: decision.quota?.remaining }
}

describe('a limit and a quota', () => {
  it('are charged together or not at all, and retryAt is when both let through', () => {
    const refused = { rate_limited: 0, quota_exceeded: 0 }
    fc.assert(
      fc.property(rateLimit, quota, steps, (rateLimit, quota, steps) => {
        const policy = { rateLimit, quota }
        let state = UNSPENT
        let now = START
        for (const { wait, cost } of steps) {
          now += wait
          const before = leftOf(state, policy, now)
          const charged = chargeMeter(state, policy, cost, now)
          ;({ state } = charged)
          const { refusedBy, retryAt } = charged.decision
          const after = leftOf(state, policy, now)
          if (refusedBy === null) {
            expect(after.rate).toBe((before.rate ?? 0) - cost)
            expect(after.quota).toBe((before.quota ?? 0) - cost)
            expect(retryAt).toBeNull()
            continue
          }
          refused[refusedBy] += 1
          expect(after).toEqual(before)
          const isOver = refusedBy === 'rate_limited' ? before.rate : before.quota
          expect(isOver).toBeLessThan(cost)
          expect(charged.decision.rateLimit?.remaining).toBe(before.rate)
          expect(charged.decision.quota?.remaining).toBe(before.quota)
          const retry = (at: number) => chargeMeter(state, policy, cost, at).decision.refusedBy
          if (retryAt === null) {
            const isForGood = quota.period === 'total' || cost > quota.limit
            expect(isForGood || cost > rateLimit.limit).toBe(true)
            expect(retry(now + 40 * 365 * 86_400_000)).not.toBeNull()
            continue
          }
          expect(retry(retryAt - 1)).not.toBeNull()
          expect(retry(retryAt)).toBeNull()
        }
      }),
      { numRuns: 300 },
    )
    expect(refused.rate_limited).toBeGreaterThan(200)
    expect(refused.quota_exceeded).toBeGreaterThan(200)
  })

  it('wait for the later of the two', () => {
    const policy = {
      rateLimit: { limit: 1, windowSeconds: 60 },
      quota: { limit: 1, period: 'hour' },
    } as const
    const late = Date.UTC(2026, 6, 14, 12, 59, 50)
    const { state } = chargeMeter(UNSPENT, policy, 1, late)
    // The hour ends in 10 s, the window in 60 s.
    expect(chargeMeter(state, policy, 1, late).decision.retryAt).toBe(late + 60_000)
    const early = chargeMeter(UNSPENT, policy, 1, START).state
    expect(chargeMeter(early, policy, 1, START).decision.retryAt).toBe(START + 3_600_000)
  })

  it('never say that less than nothing remains, after either was lowered', () => {
    const wide = {
      rateLimit: { limit: 100, windowSeconds: 60 },
      quota: { limit: 100, period: 'day' },
    } as const
    const narrow = {
      rateLimit: { limit: 5, windowSeconds: 60 },
      quota: { limit: 5, period: 'day' },
    } as const
    const { state } = chargeMeter(UNSPENT, wide, 60, START)
    const asked = chargeMeter(state, narrow, 0, START + 1).decision
    expect(asked).toMatchObject({ refusedBy: null, retryAt: null })
    expect(asked).toMatchObject({ rateLimit: { remaining: 0 }, quota: { remaining: 0 } })
    expect(chargeMeter(state, narrow, 1, START + 1).decision.refusedBy).toBe('rate_limited')
    // And nothing was forgotten: raised again, 60 of 100 are spent.
    expect(leftOf(state, wide, START + 2)).toEqual({ rate: 40, quota: 40 })
  })
})

/** Policies of one limit whose size and window change at will. */
const changing = fc.array(
  fc.record({
    rateLimit,
    wait: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 3000 })),
    cost: fc.integer({ min: 1, max: 12 }),
    times: fc.integer({ min: 1, max: 30 }),
  }),
  { minLength: 1, maxLength: 40, size: 'max' },
)

const under = (windowSeconds: number): MeterPolicy => ({
  rateLimit: { limit: 10, windowSeconds },
  quota: null,
})

describe('a changed limit', () => {
  it('keeps what is counted: the window under the new policy holds no more than its limit', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            limit: fc.integer({ min: 1, max: 40 }),
            wait: fc.integer({ min: 0, max: 4000 }),
          }),
          { minLength: 1, maxLength: 100, size: 'max' },
        ),
        fc.constantFrom(1, 10, 60),
        (changes, windowSeconds) => {
          let state = UNSPENT
          let now = START
          const grants: number[] = []
          for (const { limit, wait } of changes) {
            now += wait
            const policy = { rateLimit: { limit, windowSeconds }, quota: null }
            for (let again = 0; again < 5; again += 1) {
              const charged = chargeMeter(state, policy, 1, now)
              ;({ state } = charged)
              if (charged.decision.refusedBy !== null) continue
              grants.push(now)
              const inWindow = grants.filter((at) => at > now - windowSeconds * 1000)
              expect(inWindow.length).toBeLessThanOrEqual(limit)
            }
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  it.each([
    { from: 60, to: 3600 },
    { from: 60, to: 61 },
    { from: 3600, to: 60 },
    { from: 86_400, to: 1 },
  ])('of the window, $from s to $to s, counts what lies in the new one', ({ from, to }) => {
    const { state } = chargeMeter(UNSPENT, under(from), 10, START)
    const shorter = Math.min(from, to) * 1000
    expect(chargeMeter(state, under(to), 1, START + shorter - 1).decision).toMatchObject({
      refusedBy: 'rate_limited',
      retryAt: START + to * 1000,
    })
    expect(chargeMeter(state, under(to), 10, START + to * 1000).decision.refusedBy).toBeNull()
  })

  it('keeps the state bounded, and in order', () => {
    fc.assert(
      fc.property(changing, (changes) => {
        let state = UNSPENT
        let now = START
        for (const { rateLimit, wait, cost, times } of changes) {
          for (let again = 0; again < times; again += 1) {
            now += wait
            ;({ state } = chargeMeter(state, { rateLimit, quota: null }, cost, now))
          }
          expect(state.window.length).toBeLessThanOrEqual(200)
          const ends = state.window.map(([, newestAt]) => newestAt)
          expect(ends).toEqual(ends.toSorted((one, other) => one - other))
        }
      }),
      { numRuns: 100 },
    )
  })

  it('joins the oldest buckets without forgetting any grant', () => {
    let state = UNSPENT
    let now = START
    let spent = 0
    const limit = 1_000_000
    // One window after the other, each so much longer that it holds all before: buckets pile up.
    for (const windowSeconds of [1, 16, 256, 4096, 65_536]) {
      const policy = { rateLimit: { limit, windowSeconds }, quota: null }
      for (let again = 0; again < 90; again += 1) {
        now += windowSeconds * 10
        spent += 1
        const charged = chargeMeter(state, policy, 1, now)
        ;({ state } = charged)
        const { remaining = 0 } = charged.decision.rateLimit ?? {}
        expect(limit - remaining).toBe(spent)
        expect(state.window.length).toBeLessThanOrEqual(200)
      }
    }
  })
})

describe('a clock that steps back', () => {
  it.each([1, 1000, 5000, 59_000])('by %i ms lets no more than the limit through', (back) => {
    const policy = { rateLimit: { limit: 20, windowSeconds: 60 }, quota: null }
    for (const stepAt of [0, 3, 19, 20, 25]) {
      let state = UNSPENT
      let granted = 0
      for (let request = 0; request < 60; request += 1) {
        const real = START + request * 900
        const clock = request < stepAt ? real : real - back
        const charged = chargeMeter(state, policy, 1, clock)
        ;({ state } = charged)
        if (charged.decision.refusedBy === null) granted += 1
      }
      // All of it lies within 54 s, so within one window.
      expect(granted).toBe(20)
    }
  })

  it('neither starts the old period of a quota again nor loses the new one', () => {
    const policy = { rateLimit: null, quota: { limit: 10, period: 'hour' } } as const
    const end = Date.UTC(2026, 6, 14, 13)
    const before = chargeMeter(UNSPENT, policy, 10, end - 1).state
    const after = chargeMeter(before, policy, 10, end)
    expect(after.decision.refusedBy).toBeNull()
    const back = chargeMeter(after.state, policy, 1, end - 5000).decision
    // No wait is longer than the period.
    expect(back).toMatchObject({ refusedBy: 'quota_exceeded', retryAt: end - 5000 + 3_600_000 })
  })
})

import type { MeterDecision } from '../domain/meter.ts'
import { Lru } from './lru.ts'

/** A refusal of a key's limits that still stands. Times are this isolate's milliseconds. */
export type Refusal = {
  readonly cost: number
  readonly until: number
  readonly decision: MeterDecision
}

const CAPACITY = 10_000

/**
 * Keys that are over their limit, until when and from which cost on: a request that is bound to be
 * refused needs no call to the key's object. Kept under the key and its limits, so that a changed
 * limit is asked about.
 */
export class RefusedMeters {
  readonly #refusals = new Lru<Refusal>(CAPACITY)

  find(meter: string, cost: number, now: number): MeterDecision | undefined {
    const refusal = this.#refusals.peek(meter)
    if (refusal === undefined) return undefined
    if (now >= refusal.until) {
      this.#refusals.delete(meter)
      return undefined
    }
    return cost >= refusal.cost ? refusal.decision : undefined
  }

  remember(meter: string, refusal: Refusal): void {
    this.#refusals.set(meter, refusal)
  }
}

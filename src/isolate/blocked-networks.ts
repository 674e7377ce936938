import { Lru } from './lru.ts'

const CAPACITY = 1000

/**
 * Networks that presented too many strings that D1 does not know. The platform's limiter can only
 * be asked by charging it, so its "no" is remembered here, and D1 is not asked for them meanwhile.
 */
export class BlockedNetworks {
  readonly #blockedUntil = new Lru<number>(CAPACITY)

  isBlocked(network: string, now: number): boolean {
    const until = this.#blockedUntil.peek(network)
    if (until === undefined) return false
    if (now < until) return true
    this.#blockedUntil.delete(network)
    return false
  }

  block(network: string, until: number): void {
    this.#blockedUntil.set(network, until)
  }
}

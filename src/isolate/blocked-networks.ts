const CAPACITY = 1000

/**
 * Networks that presented too many strings that D1 does not know. The platform's limiter can only
 * be asked by charging it, so its "no" is remembered here, and D1 is not asked for them meanwhile.
 */
export class UnknownCallers {
  readonly #blockedUntil = new Map<string, number>()

  isBlocked(network: string, now: number): boolean {
    const until = this.#blockedUntil.get(network)
    if (until === undefined) return false
    if (now < until) return true
    this.#blockedUntil.delete(network)
    return false
  }

  block(network: string, until: number): void {
    this.#blockedUntil.delete(network)
    this.#blockedUntil.set(network, until)
    if (this.#blockedUntil.size <= CAPACITY) return
    const [oldest] = this.#blockedUntil.keys()
    if (oldest !== undefined) this.#blockedUntil.delete(oldest)
  }
}

/** This isolate's. */
export const unknownCallers = new UnknownCallers()

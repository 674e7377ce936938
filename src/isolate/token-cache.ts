import type { DeviceTokenClaims } from '../domain/device-token.ts'

const CAPACITY = 10_000

/**
 * The device tokens whose signature this isolate has checked, by their hash: a bounded LRU. What is
 * remembered is only that they are genuine; expiry and revocation are asked each time.
 */
export class TokenMemory {
  readonly #tokens = new Map<string, DeviceTokenClaims>()

  get(hash: string): DeviceTokenClaims | undefined {
    const claims = this.#tokens.get(hash)
    if (claims === undefined) return undefined
    this.#tokens.delete(hash)
    this.#tokens.set(hash, claims)
    return claims
  }

  keep(hash: string, claims: DeviceTokenClaims): void {
    this.#tokens.set(hash, claims)
    if (this.#tokens.size <= CAPACITY) return
    const [oldest] = this.#tokens.keys()
    if (oldest !== undefined) this.#tokens.delete(oldest)
  }
}

import type { DeviceTokenClaims } from '../domain/device-token.ts'
import { Lru } from './lru.ts'

/** In weight: a token of up to a thousand characters weighs 1, one of two thousand 2. */
const CAPACITY = 10_000
const CHARACTERS_PER_WEIGHT = 1000

/**
 * The device tokens whose signature this isolate has checked, by their hash. It remembers only that
 * they are genuine: expiry and revocation are asked each time.
 */
export class TokenCache {
  readonly #tokens = new Lru<DeviceTokenClaims>(CAPACITY, weightOf)

  get size(): number {
    return this.#tokens.size
  }

  get(hash: string): DeviceTokenClaims | undefined {
    return this.#tokens.get(hash)
  }

  keep(hash: string, claims: DeviceTokenClaims): void {
    this.#tokens.set(hash, claims)
  }
}

function weightOf({ scopes, deviceName, keyName, audiences }: DeviceTokenClaims): number {
  const characters = [...scopes, ...audiences, deviceName, keyName].reduce(
    (sum, text) => sum + text.length,
    0,
  )
  return 1 + Math.floor(characters / CHARACTERS_PER_WEIGHT)
}

/**
 * A bounded map that drops what was used least recently. Each value has a weight, and the sum of
 * them stays within the capacity: what is large takes the place of many.
 */
export class Lru<Value> {
  readonly #capacity: number
  readonly #weigh: (value: Value) => number
  readonly #values = new Map<string, Value>()
  #weight = 0

  /** @param weigh the weight of a value, of which the key's is a part; 1 for each unless said */
  constructor(capacity: number, weigh: (value: Value) => number = () => 1) {
    this.#capacity = capacity
    this.#weigh = weigh
  }

  get size(): number {
    return this.#values.size
  }

  get weight(): number {
    return this.#weight
  }

  entries(): IterableIterator<[string, Value]> {
    return this.#values.entries()
  }

  /** The value, without counting this as a use of it. */
  peek(key: string): Value | undefined {
    return this.#values.get(key)
  }

  /** The value, which becomes the most recently used. */
  get(key: string): Value | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    // A Map iterates in order of insertion: the least recently used stays first.
    this.#values.delete(key)
    this.#values.set(key, value)
    return value
  }

  /** Keeps a value as the most recently used, and drops the others that no longer fit beside it. */
  set(key: string, value: Value): void {
    this.delete(key)
    this.#values.set(key, value)
    this.#weight += this.#weigh(value)
    for (const oldest of this.#values.keys()) {
      if (this.#weight <= this.#capacity) break
      this.delete(oldest)
    }
  }

  /** Puts another value of the same weight in the place of the one that is there, if one is. */
  replace(key: string, change: (value: Value) => Value): void {
    const value = this.#values.get(key)
    if (value !== undefined) this.#values.set(key, change(value))
  }

  delete(key: string): void {
    const value = this.#values.get(key)
    if (value === undefined) return
    this.#values.delete(key)
    this.#weight -= this.#weigh(value)
  }
}

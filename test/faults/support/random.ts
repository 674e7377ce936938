/** Draws that a seed repeats. */
export type Random = {
  /** A whole number from 0 to below the bound. */
  readonly below: (bound: number) => number
  readonly pick: <Item>(items: readonly Item[]) => Item | undefined
}

/** Mulberry32: 32 bits of state, which is plenty to mix a load. */
export function seededRandom(seed: number): Random {
  let state = seed
  const below = (bound: number) => {
    state = (state + 0x6d_2b_79_f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }
  return { below, pick: (items) => items[below(items.length)] }
}

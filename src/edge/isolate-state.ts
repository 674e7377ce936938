import { KeyCache, keyCache } from './key-cache.ts'
import { Refusals } from './refusals.ts'
import { UsageBuffer } from './usage-buffer.ts'

/** All that one isolate remembers between requests and a verify looks at. */
export type IsolateState = {
  readonly cache: KeyCache
  readonly refusals: Refusals
  readonly usage: UsageBuffer
}

export function makeIsolateState(cache = new KeyCache()): IsolateState {
  return { cache, refusals: new Refusals(), usage: new UsageBuffer() }
}

/** This isolate's. */
export const isolateState = makeIsolateState(keyCache)

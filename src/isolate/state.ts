import { KeyCache, keyCache } from './key-cache.ts'
import { Refusals } from './refused-meters.ts'
import { RevocationFeed, revocationFeed } from './known-revocations.ts'
import { TokenMemory } from './token-cache.ts'
import { UsageBuffer } from './usage-buffer.ts'

/** All that one isolate remembers between requests and a verify looks at. */
export type IsolateState = {
  readonly cache: KeyCache
  readonly refusals: Refusals
  readonly usage: UsageBuffer
  readonly feed: RevocationFeed
  readonly tokens: TokenMemory
}

export function makeIsolateState(
  cache = new KeyCache(),
  feed = new RevocationFeed(),
): IsolateState {
  return {
    cache,
    refusals: new Refusals(),
    usage: new UsageBuffer(),
    feed,
    tokens: new TokenMemory(),
  }
}

/** This isolate's. */
export const isolateState = makeIsolateState(keyCache, revocationFeed)

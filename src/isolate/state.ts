import { BlockedNetworks } from './blocked-networks.ts'
import { ClaimPolls } from './claim-polls.ts'
import { KeyCache } from './key-cache.ts'
import { KnownRevocations } from './known-revocations.ts'
import { Outage } from './outage.ts'
import { RefusedMeters } from './refused-meters.ts'
import { SampledLog } from './sampled-log.ts'
import { TokenCache } from './token-cache.ts'
import { UsageBuffer } from './usage-buffer.ts'

/** What the last probe of the database found, and when, in milliseconds. */
type Probe = {
  readonly at: number
  readonly found: 'ok' | 'unavailable' | 'not_migrated'
}

/**
 * All that one isolate remembers between requests: plain data, never a promise or an I/O object.
 * Nothing else remembers anything, but for values that are pure functions of the configuration
 * (parsed settings, imported keys).
 */
export class IsolateState {
  readonly keys = new KeyCache()
  readonly feed = new KnownRevocations()
  readonly tokens = new TokenCache()
  readonly refusedMeters = new RefusedMeters()
  readonly blockedNetworks = new BlockedNetworks()
  readonly claimPolls = new ClaimPolls()
  readonly usage = new UsageBuffer()
  readonly outage = new Outage()
  readonly log = new SampledLog()
  lastProbe: Probe | undefined
  /** When this isolate had its first request (milliseconds): at global scope there is no clock. */
  startedAt: number | undefined

  /**
   * Forgets what is known of an owner, a device or a key by its id, and has the next token of it
   * wait for the feed. Call it after the commit.
   */
  evict(subject: string): void {
    this.keys.forget(subject)
    this.feed.noteChange(subject)
  }
}

/** This isolate's own. Tests bring others. */
export const thisIsolate = new IsolateState()

import { SECOND_MS } from '../domain/time.ts'

/** What happens to many requests at once, and is worth one line a second. */
type SampledEvent =
  | 'serving-stale-key'
  | 'serving-stale-feed'
  | 'rpc-unavailable'
  | 'rpc-misconfigured'
  | 'forward-auth-misconfigured'
  | 'made-up-credentials'

type Counted = { count: number; loggedSecond: number }

/**
 * Writes one line a second for an event, with how many there were since the last: neither an outage
 * nor an attacker may fill the log.
 */
export class SampledLog {
  readonly #counted = new Map<SampledEvent, Counted>()

  /** @param now milliseconds */
  note(event: SampledEvent, now: number): void {
    const entry = this.#counted.get(event) ?? { count: 0, loggedSecond: 0 }
    this.#counted.set(event, entry)
    entry.count += 1
    const second = Math.floor(now / SECOND_MS)
    if (second === entry.loggedSecond) return
    const line = JSON.stringify({ event, count: entry.count })
    if (event === 'made-up-credentials') console.warn(line)
    else console.error(line)
    entry.count = 0
    entry.loggedSecond = second
  }
}

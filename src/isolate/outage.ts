/** How long a failing D1 is left alone before it is asked again. */
const PROBE_INTERVAL_MS = 1000

/**
 * Whether D1 answers this isolate. While it does not, one request a second asks it, and all others
 * are spared the wait. Times are milliseconds.
 */
export class Outage {
  /** When D1 is to be asked next; null: it answers. */
  #nextProbeAt: number | null = null

  /** Whether the caller is to ask D1. While D1 fails, a yes keeps the others from asking. */
  mayAsk(now: number): boolean {
    if (this.#nextProbeAt === null) return true
    if (now < this.#nextProbeAt) return false
    this.#nextProbeAt = now + PROBE_INTERVAL_MS
    return true
  }

  /** @param now when the failure was noticed, which is later than its request by the wait for D1 */
  noteFailure(now: number): void {
    this.#nextProbeAt = now + PROBE_INTERVAL_MS
  }

  noteAnswer(): void {
    this.#nextProbeAt = null
  }
}

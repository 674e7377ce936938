/** One entry of the feed: what ended, as which number, and when (milliseconds). */
export type Revocation = { readonly seq: number; readonly subject: string; readonly at: number }

/**
 * What this isolate knows of the revocation feed: of each subject (a secret's hash, a key, a device
 * or an owner) the newest entry that names it. Sequence numbers decide, not times: a time has a
 * resolution, and an isolate that lags could issue a token after the revocation that it missed.
 */
export class KnownRevocations {
  readonly #newest = new Map<string, Revocation>()
  #position = 0
  #readAt: number | null = null
  #refreshUntil = 0
  #failedAt: number | null = null

  /** The sequence number up to which everything is known. */
  get position(): number {
    return this.#position
  }

  /** When the newest read was about to start, in milliseconds; null: none has landed yet. */
  get readAt(): number | null {
    return this.#readAt
  }

  get failedAt(): number | null {
    return this.#failedAt
  }

  /** Whether any of the subjects ended after this position of the feed. */
  hasEnded(subjects: readonly string[], position: number): boolean {
    return subjects.some((subject) => (this.#newest.get(subject)?.seq ?? 0) > position)
  }

  /** Takes what a read found, and forgets entries of before `cutoff`. */
  take(entries: readonly Revocation[], readAt: number, cutoff: number): void {
    for (const entry of entries) {
      const known = this.#newest.get(entry.subject)
      if (known === undefined || known.seq < entry.seq) this.#newest.set(entry.subject, entry)
      this.#position = Math.max(this.#position, entry.seq)
    }
    for (const [subject, { at }] of this.#newest) {
      if (at < cutoff) this.#newest.delete(subject)
    }
    this.#readAt = Math.max(this.#readAt ?? 0, readAt)
    this.#failedAt = null
    this.#refreshUntil = 0
  }

  /** Whether the caller is to refresh in the background: others are told no until a deadline. */
  claimRefresh(now: number, deadline: number): boolean {
    if (now < this.#refreshUntil) return false
    this.#refreshUntil = deadline
    return true
  }

  noteFailure(now: number): void {
    this.#failedAt = now
  }

  /** Has the next reader ask D1: something ended here just now. */
  expire(): void {
    this.#readAt = null
  }
}

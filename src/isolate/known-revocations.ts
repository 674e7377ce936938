/** One entry of the feed: what ended, as which number, and when (milliseconds). */
export type Revocation = { readonly seq: number; readonly subject: string; readonly at: number }

/** How many changes are remembered by their subject. */
const CHANGES_REMEMBERED = 1000

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
  #epoch = 0
  /** The newest read that has landed. */
  #landedRead = 0
  /** What was changed here, and when in the sequence of reads and changes: oldest first. */
  readonly #changedAt = new Map<string, number>()
  /** Reads older than this may have missed a change that is no longer remembered. */
  #forgottenUntil = 0

  /** The sequence number up to which everything is known. */
  get position(): number {
    return this.#position
  }

  /** When the newest read was about to start, in milliseconds; null: none has landed yet. */
  get readAt(): number | null {
    return this.#readAt
  }

  /** Whether any of the subjects ended after this position of the feed. */
  hasEnded(subjects: readonly string[], position: number): boolean {
    return subjects.some((subject) => (this.#newest.get(subject)?.seq ?? 0) > position)
  }

  /** Whether one of the subjects was changed here since the newest read that has landed began. */
  hasMissedChange(subjects: readonly string[]): boolean {
    if (this.#landedRead < this.#forgottenUntil) return true
    return subjects.some((subject) => (this.#changedAt.get(subject) ?? 0) > this.#landedRead)
  }

  /** To be called before a read starts: the number under which it lands. */
  startRead(): number {
    this.#epoch += 1
    return this.#epoch
  }

  /** Adds entries that a read found. It may find more. */
  add(entries: readonly Revocation[]): void {
    for (const { seq, subject, at } of entries) {
      const known = this.#newest.get(subject)
      if (known === undefined || known.seq < seq) this.#newest.set(subject, { seq, subject, at })
      this.#position = Math.max(this.#position, seq)
    }
  }

  /** Notes that a read has found all that it could, and forgets entries of before `cutoff`. */
  land(readAt: number, cutoff: number, read: number): void {
    for (const [subject, { at }] of this.#newest) {
      if (at < cutoff) this.#newest.delete(subject)
    }
    this.#landedRead = Math.max(this.#landedRead, read)
    for (const [subject, changedAt] of this.#changedAt) {
      if (changedAt < this.#landedRead) this.#changedAt.delete(subject)
    }
    this.#readAt = Math.max(this.#readAt ?? 0, readAt)
    this.#refreshUntil = 0
  }

  /** Whether the caller is to refresh in the background: others are told no until a deadline. */
  claimRefresh(now: number, deadline: number): boolean {
    if (now < this.#refreshUntil) return false
    this.#refreshUntil = deadline
    return true
  }

  /**
   * Notes that a subject was changed here just now. A read that began before cannot know it; its
   * tokens wait for one that begins later, and nobody else's do.
   */
  noteChange(subject: string): void {
    this.#epoch += 1
    this.#changedAt.delete(subject)
    this.#changedAt.set(subject, this.#epoch)
    const [oldest] = this.#changedAt
    if (this.#changedAt.size <= CHANGES_REMEMBERED || oldest === undefined) return
    this.#changedAt.delete(oldest[0])
    this.#forgottenUntil = oldest[1]
  }
}

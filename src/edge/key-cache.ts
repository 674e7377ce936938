import type { KeySnapshot } from '../domain/evaluate-key.ts'

/** A snapshot and how old it is. */
export type CachedKey = {
  readonly snapshot: KeySnapshot
  /** When its query was about to start, in milliseconds: its age counts from here. */
  readonly readAt: number
  /** Until when a refresh is taken to be under way: a deadline, since background work can die. */
  readonly refreshUntil: number
  /** When D1 last failed to tell more, in milliseconds. */
  readonly failedAt: number | null
}

const CAPACITY = 10_000

/**
 * What one isolate remembers of keys, by the hash of their secret: a bounded LRU of plain data,
 * into which only what D1 knew may come.
 *
 * A read that began before a local change could bring the old row back after the change evicted it.
 * So each change starts a new epoch, and what was read in an older one is not kept.
 */
export class KeyCache {
  #epoch = 0
  readonly #capacity: number
  readonly #entries = new Map<string, CachedKey>()

  constructor(capacity: number = CAPACITY) {
    this.#capacity = capacity
  }

  get epoch(): number {
    return this.#epoch
  }

  get size(): number {
    return this.#entries.size
  }

  get(hash: string): CachedKey | undefined {
    const entry = this.#entries.get(hash)
    if (entry === undefined) return undefined
    // A Map iterates in order of insertion: the least recently used stays first.
    this.#entries.delete(hash)
    this.#entries.set(hash, entry)
    return entry
  }

  /** Keeps what a read found, unless a change or a later read came between. */
  keep(hash: string, snapshot: KeySnapshot, readAt: number, epoch: number): void {
    if (epoch !== this.#epoch) return
    const present = this.#entries.get(hash)
    if (present !== undefined && present.readAt > readAt) return
    this.#entries.delete(hash)
    this.#entries.set(hash, { snapshot, readAt, refreshUntil: 0, failedAt: null })
    if (this.#entries.size <= this.#capacity) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }

  /** Notes that a refresh of the entry is under way. */
  noteRefresh(hash: string, refreshUntil: number): void {
    this.#change(hash, { refreshUntil })
  }

  /** Notes that D1 was asked for the entry in vain. */
  noteFailure(hash: string, failedAt: number): void {
    this.#change(hash, { failedAt })
  }

  /** Notes in a kept snapshot that the use of its retired secret is on record. */
  noteRetiredUse(hash: string): void {
    const snapshot = this.#entries.get(hash)?.snapshot
    if (snapshot === undefined) return
    const secret = { ...snapshot.secret, isRetiredUseNoted: true }
    this.#change(hash, { snapshot: { ...snapshot, secret } })
  }

  /** Forgets what is known of an owner, a device or a key by its id. Call it after the commit. */
  forget(subject: string): void {
    this.#epoch += 1
    for (const [hash, { snapshot }] of this.#entries) {
      const { ownerId, policy } = snapshot
      if (subject === ownerId || subject === policy?.device.id || subject === policy?.key.id) {
        this.#entries.delete(hash)
      }
    }
  }

  /** Forgets one secret. */
  drop(hash: string): void {
    this.#entries.delete(hash)
  }

  #change(hash: string, fields: Partial<CachedKey>): void {
    const entry = this.#entries.get(hash)
    if (entry !== undefined) this.#entries.set(hash, { ...entry, ...fields })
  }
}

/** This isolate's. */
export const keyCache = new KeyCache()

import type { KeySnapshot } from '../domain/evaluate-key.ts'

/** A snapshot and how old it is. */
export type CachedKey = {
  readonly snapshot: KeySnapshot
  /** When its query was about to start, in milliseconds: its age counts from here. */
  readonly readAt: number
  /** Which read found it: of two, the later began later. */
  readonly read: number
  /** Until when a refresh is taken to be under way: a deadline, since background work can die. */
  readonly refreshUntil: number
  /** When D1 last failed to tell more, in milliseconds. */
  readonly failedAt: number | null
}

/** How much it keeps, in weight: a plain key weighs 1, one with a thousand characters of scopes 2. */
const CAPACITY = 10_000
const CHARACTERS_PER_WEIGHT = 1000
/** How many changes are remembered by their subject. */
const CHANGES_REMEMBERED = 1000

/**
 * What one isolate remembers of keys, by the hash of their secret: a bounded LRU of plain data,
 * into which only what D1 knew may come.
 *
 * A read that began before a local change could bring the old row back after the change evicted it.
 * So reads and changes draw numbers from one sequence (the epochs), and what an older read found of
 * a changed subject is not kept. Nor is what it found when a later read has landed before it.
 */
export class KeyCache {
  readonly #capacity: number
  readonly #entries = new Map<string, CachedKey>()
  #weight = 0
  #epoch = 0
  /** When each owner, device and key was last changed here. */
  readonly #changedAt = new Map<string, number>()
  /** Reads older than this may have missed a change that is no longer remembered. */
  #forgottenUntil = 0

  constructor(capacity: number = CAPACITY) {
    this.#capacity = capacity
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

  /** To be called before a read starts: the number under which `keep` takes what it found. */
  startRead(): number {
    this.#epoch += 1
    return this.#epoch
  }

  /** Keeps what a read found, unless a change or a later read came between. */
  keep(hash: string, snapshot: KeySnapshot, readAt: number, read: number): void {
    const present = this.#entries.get(hash)
    if (present !== undefined && present.read > read) return
    if (read < this.#forgottenUntil || this.#hasChangedSince(snapshot, read)) return
    this.drop(hash)
    this.#entries.set(hash, { snapshot, readAt, read, refreshUntil: 0, failedAt: null })
    this.#weight += weightOf(snapshot)
    for (const oldest of this.#entries.keys()) {
      if (this.#weight <= this.#capacity) break
      this.drop(oldest)
    }
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
    this.#changedAt.delete(subject)
    this.#changedAt.set(subject, this.#epoch)
    const [oldest] = this.#changedAt
    if (this.#changedAt.size > CHANGES_REMEMBERED && oldest !== undefined) {
      this.#changedAt.delete(oldest[0])
      this.#forgottenUntil = oldest[1]
    }
    for (const [hash, { snapshot }] of this.#entries) {
      if (subjectsOf(snapshot).includes(subject)) this.drop(hash)
    }
  }

  /** Forgets one secret. */
  drop(hash: string): void {
    const entry = this.#entries.get(hash)
    if (entry === undefined) return
    this.#entries.delete(hash)
    this.#weight -= weightOf(entry.snapshot)
  }

  #hasChangedSince(snapshot: KeySnapshot, read: number): boolean {
    return subjectsOf(snapshot).some((subject) => (this.#changedAt.get(subject) ?? 0) > read)
  }

  #change(hash: string, fields: Partial<CachedKey>): void {
    const entry = this.#entries.get(hash)
    if (entry !== undefined) this.#entries.set(hash, { ...entry, ...fields })
  }
}

function subjectsOf({ ownerId, policy }: KeySnapshot): readonly string[] {
  return policy === null ? [ownerId] : [ownerId, policy.device.id, policy.key.id]
}

function weightOf({ policy }: KeySnapshot): number {
  const characters = policy?.key.scopes.reduce((sum, scope) => sum + scope.length, 0) ?? 0
  return 1 + Math.floor(characters / CHARACTERS_PER_WEIGHT)
}

/** This isolate's. */
export const keyCache = new KeyCache()

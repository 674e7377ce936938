import { isOverForGood, type KeySnapshot } from '../domain/evaluate-key.ts'
import { Lru } from './lru.ts'

/** A snapshot and how old it is. */
export type CachedKey = {
  /** Undefined: D1 does not know the secret. */
  readonly snapshot: KeySnapshot | undefined
  /** When its query was about to start, in milliseconds: its age counts from here. */
  readonly readAt: number
  /** Which read found it: of two, the later began later. */
  readonly read: number
  /** Until when a refresh is taken to be under way: a deadline, since background work can die. */
  readonly refreshUntil: number
}

/** In weight: a plain key weighs 1, one with a thousand characters of scopes 2. */
const CAPACITY = 10_000
const CHARACTERS_PER_WEIGHT = 1000
/** Secrets that can never be good again, and those that D1 does not know. */
const DEAD_CAPACITY = 2000
/** How many changes are remembered by their subject: as many as there are plain keys. */
const CHANGES_REMEMBERED = CAPACITY

/**
 * What one isolate remembers of keys, by the hash of their secret: bounded LRUs of plain data. Dead
 * secrets have one of their own, so that their holders read D1 no more often than others, and push
 * no live key out.
 *
 * A read that began before a local change could bring the old row back after the change. So reads
 * and changes draw numbers from one sequence (the epochs). A row of a changed subject is not kept
 * if an older read found it, and is not answered from here if it was kept before. So a change need
 * not look for the entries that it concerns. Of two reads, the later one's row stays.
 */
export class KeyCache {
  readonly #live: Lru<CachedKey>
  readonly #dead = new Lru<CachedKey>(DEAD_CAPACITY)
  #epoch = 0
  /** When each owner, device and key was last changed here. */
  readonly #changedAt = new Map<string, number>()
  /** Reads older than this may have missed a change that is no longer remembered. */
  #forgottenUntil = 0

  constructor(capacity: number = CAPACITY) {
    this.#live = new Lru(capacity, ({ snapshot }) => weightOf(snapshot))
  }

  /** How many live keys are remembered. */
  get size(): number {
    return this.#live.size
  }

  get(hash: string): CachedKey | undefined {
    const entry = this.#live.get(hash) ?? this.#dead.get(hash)
    if (entry === undefined || this.#isCurrent(entry.snapshot, entry.read)) return entry
    this.drop(hash)
    return undefined
  }

  /** To be called before a read starts: the number under which `keep` takes what it found. */
  startRead(): number {
    this.#epoch += 1
    return this.#epoch
  }

  /** Keeps what a read found, unless a change or a later read came between. */
  keep(hash: string, snapshot: KeySnapshot | undefined, readAt: number, read: number): void {
    const known = this.#live.peek(hash) ?? this.#dead.peek(hash)
    if (known !== undefined && known.read > read) return
    if (!this.#isCurrent(snapshot, read)) return
    this.drop(hash)
    const isDead = snapshot === undefined || isOverForGood(snapshot, readAt)
    const entries = isDead ? this.#dead : this.#live
    entries.set(hash, { snapshot, readAt, read, refreshUntil: 0 })
  }

  /** Notes that a refresh of the entry is under way. */
  noteRefresh(hash: string, refreshUntil: number): void {
    this.#replace(hash, (entry) => ({ ...entry, refreshUntil }))
  }

  /** Notes in a kept snapshot that a use of its secret is on record. */
  noteUse(hash: string, noted: 'isFirstUseNoted' | 'isRetiredUseNoted'): void {
    this.#replace(hash, (entry) => {
      const { snapshot } = entry
      if (snapshot === undefined) return entry
      return { ...entry, snapshot: { ...snapshot, secret: { ...snapshot.secret, [noted]: true } } }
    })
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
  }

  /** Forgets one secret. */
  drop(hash: string): void {
    this.#live.delete(hash)
    this.#dead.delete(hash)
  }

  #replace(hash: string, change: (entry: CachedKey) => CachedKey): void {
    this.#live.replace(hash, change)
    this.#dead.replace(hash, change)
  }

  /** Whether owner, device and key are unchanged since the read that found the snapshot. */
  #isCurrent(snapshot: KeySnapshot | undefined, read: number): boolean {
    if (read < this.#forgottenUntil) return false
    if (snapshot === undefined) return true
    const { ownerId, policy } = snapshot
    const hasChanged = (subject: string) => (this.#changedAt.get(subject) ?? 0) > read
    if (hasChanged(ownerId)) return false
    return policy === null || !(hasChanged(policy.device.id) || hasChanged(policy.key.id))
  }
}

function weightOf(snapshot: KeySnapshot | undefined): number {
  const characters = snapshot?.policy?.key.scopes.reduce((sum, scope) => sum + scope.length, 0) ?? 0
  return 1 + Math.floor(characters / CHARACTERS_PER_WEIGHT)
}

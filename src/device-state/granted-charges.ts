import { MINUTE_MS } from '../domain/time.ts'

/** A charge that was granted: its id, and when, in milliseconds. */
export type Grant = readonly [id: string, at: number]

/**
 * For how long a grant is remembered. A retry leaves the isolate within METER_TIMEOUT_MS of the
 * first try, 30 s at most. As much again is for its way, and for a wait in the object's queue.
 */
const REMEMBERED_MS = MINUTE_MS
/** An object answers about 1000 calls a second: this is every grant of REMEMBERED_MS. */
const IN_MEMORY_MAX = 60_000
/**
 * Only a restart of the object needs the row. A restart loses the answers that are on their way, of
 * the last tenth of a second: this is enough for a key that is charged 300 times a second.
 */
const IN_ROW_MAX = 32

/** The newest grants, for the row of a key, without those that no retry asks about any more. */
export function newestGrants(grants: readonly Grant[], now: number): readonly Grant[] {
  return grants.filter(([, at]) => isRemembered(at, now)).slice(-IN_ROW_MAX)
}

/** The granted charges of a device's keys, for as long as a retry can ask about them. */
export class GrantedCharges {
  readonly #grantedAt = new Map<string, number>()

  has(keyId: string, id: string, now: number): boolean {
    const at = this.#grantedAt.get(nameOf(keyId, id))
    return at !== undefined && isRemembered(at, now)
  }

  add(keyId: string, [id, now]: Grant): void {
    this.#grantedAt.set(nameOf(keyId, id), now)
    // A Map iterates in order of insertion: the oldest grants come first.
    for (const [name, at] of this.#grantedAt) {
      if (isRemembered(at, now) && this.#grantedAt.size <= IN_MEMORY_MAX) break
      this.#grantedAt.delete(name)
    }
  }
}

function isRemembered(at: number, now: number): boolean {
  // A clock that was ahead must not keep a grant until the true time has caught up.
  return Math.abs(now - at) < REMEMBERED_MS
}

/** Two keys may draw the same id. */
function nameOf(keyId: string, id: string): string {
  return `${keyId} ${id}`
}

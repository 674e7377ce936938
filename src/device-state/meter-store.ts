import {
  chargeMeter,
  hasEnded,
  type MeterDecision,
  type MeterPolicy,
  type MeterState,
  UNSPENT,
} from '../domain/meter.ts'
import { periodStart } from '../domain/quota.ts'
import type { Outcome, UsageCount } from '../domain/usage-count.ts'
import { type Grant, GrantedCharges, newestGrants } from './granted-charges.ts'
import { addUsage } from './usage-store.ts'

/**
 * What one key has spent, its verifies of the current hour, and the newest charges that it was
 * granted: one row, so that a charge writes one. When the hour is over, its verifies go where the
 * others are.
 */
type KeyMeter = {
  readonly meter: MeterState
  readonly hour: number
  readonly counts: readonly UsageCount[]
  readonly grants: readonly Grant[]
}

/** Rows of before grants were remembered have none. */
type StoredMeter = Omit<KeyMeter, 'grants'> & Partial<Pick<KeyMeter, 'grants'>>

const UNUSED: KeyMeter = { meter: UNSPENT, hour: 0, counts: [], grants: [] }

export type ChargeRequest = {
  /** Drawn for this charge: who lost the answer asks again under the same id. */
  readonly id: string
  readonly keyId: string
  readonly secretHash: string
  readonly policy: MeterPolicy
  readonly cost: number
  /** Whether the verify is counted in the usage too. */
  readonly counts: boolean
}

/** The meters of a device's keys: in memory while the object lives, and in its storage. */
export class MeterStore {
  readonly #sql: SqlStorage
  readonly #meters = new Map<string, KeyMeter>()
  readonly #granted = new GrantedCharges()

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec('create table if not exists meters (key_id text primary key, state text not null)')
    for (const row of sql.exec<{ key_id: string; state: string }>('select * from meters')) {
      const stored: StoredMeter = JSON.parse(row.state)
      const meter = { ...stored, grants: stored.grants ?? [] }
      this.#meters.set(row.key_id, meter)
      for (const grant of meter.grants) this.#granted.add(row.key_id, grant)
    }
  }

  /**
   * Charges a key, or says again that a charge was granted, with how the limits stand now: a repeat
   * spends nothing, counts nothing and writes nothing. A refused charge has spent nothing, so its
   * repeat is a charge like any other.
   */
  charge(request: ChargeRequest, now: number): MeterDecision {
    const { id, keyId, policy, cost } = request
    const known = this.#meters.get(keyId) ?? UNUSED
    // During a deployment, isolates of the version before still charge without an id.
    const isRepeat = id !== undefined && this.#granted.has(keyId, id, now)
    if (isRepeat) return chargeMeter(known.meter, policy, 0, now).decision
    const { state, decision } = chargeMeter(known.meter, policy, cost, now)
    const hour = periodStart('hour', state.at)
    if (hour !== known.hour) addUsage(this.#sql, known.counts)
    const earlier = hour === known.hour ? known.counts : []
    const counts = request.counts
      ? addCount(earlier, request, decision.refusedBy ?? 'allowed', state.at)
      : earlier
    const grant: Grant = [id, now]
    const isGranted = decision.refusedBy === null
    const grants = newestGrants(isGranted ? [...known.grants, grant] : known.grants, now)
    this.#keep(keyId, { meter: state, hour, counts, grants })
    if (isGranted) this.#granted.add(keyId, grant)
    return decision
  }

  /** Moves the counts of the current hour to where the others are, so that they can be read. */
  settle(): void {
    for (const [keyId, meter] of this.#meters) {
      if (meter.counts.length === 0) continue
      addUsage(this.#sql, meter.counts)
      this.#keep(keyId, { ...meter, counts: [] })
    }
  }

  /** Forgets meters that say nothing any more: a key without one has spent nothing. */
  prune(now: number): void {
    for (const [keyId, { meter, counts, grants }] of this.#meters) {
      const isRemembered = counts.length > 0 || newestGrants(grants, now).length > 0
      if (isRemembered || !hasEnded(meter, now)) continue
      this.#sql.exec('delete from meters where key_id = ?', keyId)
      this.#meters.delete(keyId)
    }
  }

  /** Writes to storage first: if that fails, memory and storage both keep the old value. */
  #keep(keyId: string, meter: KeyMeter): void {
    this.#sql.exec(
      `insert into meters (key_id, state) values (?, ?)
       on conflict do update set state = excluded.state`,
      keyId,
      JSON.stringify(meter),
    )
    this.#meters.set(keyId, meter)
  }
}

function addCount(
  counts: readonly UsageCount[],
  { keyId, secretHash }: ChargeRequest,
  outcome: Outcome,
  at: number,
): readonly UsageCount[] {
  const index = counts.findIndex(
    (count) => count.secretHash === secretHash && count.outcome === outcome,
  )
  const present = counts[index]
  return present === undefined
    ? [...counts, { keyId, secretHash, outcome, count: 1, at }]
    : counts.with(index, { ...present, count: present.count + 1, at })
}

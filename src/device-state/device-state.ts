import { DurableObject } from 'cloudflare:workers'
import type { MeterDecision } from '../domain/meter.ts'
import { periodStart } from '../domain/quota.ts'
import { DAY_MS, HOUR_MS } from '../domain/time.ts'
import type { LastUse, UsageCount, UsageInterval, UsageRow } from '../domain/usage-count.ts'
import { type ChargeRequest, MeterStore } from './meter-store.ts'
import {
  addUsage,
  hasUsage,
  makeUsageTables,
  pruneUsage,
  readLastUses,
  readUsage,
} from './usage-store.ts'

/** When a device last checked in, and its newest report. Milliseconds. */
type CheckIn = { readonly seenAt: number; readonly report: string | null }

/** A decision, and how long from now until a request of the same cost would pass; null: never. */
export type Charge = MeterDecision & { readonly retryInMs: number | null }

const SCHEMA = `
  create table if not exists check_in
    (only integer primary key check (only = 1), seen_at integer not null, report text);
  create table if not exists facts (name text primary key, value) without rowid;`

/** How often an object that is no longer used looks for what it may forget. */
const PRUNE_INTERVAL_MS = 30 * DAY_MS

/**
 * What changes with every call of one device: what its keys have spent, its usage, its last report.
 * One object for each device (its name is the device's id), which lives near the device, so that no
 * call writes to D1. It has one clock: its own.
 */
export class DeviceState extends DurableObject<Env> {
  #meters: MeterStore | undefined

  /** Charges a key's limits, all or nothing. */
  async charge(deviceId: string, request: ChargeRequest): Promise<Charge> {
    const now = Date.now()
    const decision = this.#open().charge(request, now)
    if (request.counts) await this.#wakeLater(deviceId, now, decision.refusedBy === null)
    const { retryAt } = decision
    return { ...decision, retryInMs: retryAt === null ? null : retryAt - now }
  }

  /** Adds verifies that were counted elsewhere. */
  async count(deviceId: string, counts: readonly UsageCount[]): Promise<void> {
    const now = Date.now()
    this.#open()
    // Their time is the counting isolate's, which may be a little ahead.
    const past = counts.map((counted) => ({ ...counted, at: Math.min(counted.at, now) }))
    addUsage(this.ctx.storage.sql, past)
    const isUse = counts.some(({ outcome }) => outcome === 'allowed')
    await this.#wakeLater(deviceId, now, isUse)
  }

  usage(interval: UsageInterval, from: number, to: number): UsageRow[] {
    this.#open().settle()
    return readUsage(this.ctx.storage.sql, interval, from, to)
  }

  lastUses(): LastUse[] {
    this.#open().settle()
    return readLastUses(this.ctx.storage.sql)
  }

  /** Keeps the report (JSON text), or only the time when there is none. */
  checkIn(report: string | null): { receivedAt: number } {
    const now = Date.now()
    this.#open()
    this.ctx.storage.sql.exec(
      `insert into check_in (only, seen_at, report) values (1, ?, ?)
       on conflict (only) do update set
         seen_at = excluded.seen_at, report = coalesce(excluded.report, check_in.report)`,
      now,
      report,
    )
    return { receivedAt: now }
  }

  lastCheckIn(): CheckIn | undefined {
    this.#open()
    const [row] = this.ctx.storage.sql
      .exec<{ seen_at: number; report: string | null }>('select seen_at, report from check_in')
      .toArray()
    return row === undefined ? undefined : { seenAt: row.seen_at, report: row.report }
  }

  /** Tells D1 on which day the device was last used, and forgets what is too old. */
  override async alarm(): Promise<void> {
    const { sql } = this.ctx.storage
    if (!this.#hasTables()) return
    const meters = this.#open()
    meters.settle()
    const now = Date.now()
    const lastUse = Math.max(0, ...readLastUses(sql).map(({ at }) => at))
    const deviceId = this.#fact('device_id')
    if (lastUse > 0 && typeof deviceId === 'string') {
      await this.env.DB.prepare(
        'update devices set last_used_at = ?1 where id = ?2 and coalesce(last_used_at, 0) < ?1',
      )
        .bind(periodStart('day', lastUse), deviceId)
        .run()
    }
    // A use meanwhile may have asked for an earlier one.
    const isSet = (await this.ctx.storage.getAlarm()) !== null
    // The device may have been deleted meanwhile: then there are no tables, and the object must
    // stay empty. Nothing is awaited between this look and the last statement.
    if (this.#meters !== meters || !this.#hasTables()) return
    pruneUsage(sql, now)
    meters.prune(now)
    if (!isSet && hasUsage(sql)) await this.ctx.storage.setAlarm(now + PRUNE_INTERVAL_MS)
  }

  /**
   * Forgets everything: the device was deleted. Storage first: a call in between would read the old
   * rows into memory again, and a later charge would write them back.
   */
  async empty(): Promise<void> {
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    this.#meters = undefined
  }

  /**
   * Sees to it that the alarm runs once on a day on which the device is used, and once on one on
   * which it is only refused: within an hour, at a random time, so that a fleet that wakes at once
   * does not reach D1 at once.
   */
  async #wakeLater(deviceId: string, now: number, isUse: boolean): Promise<void> {
    const day = periodStart('day', now)
    if (this.#fact('woken_for_use') === day) return
    const reason = isUse ? 'woken_for_use' : 'woken_for_refusal'
    if (this.#fact(reason) === day) return
    this.#setFact('device_id', deviceId)
    this.#setFact(reason, day)
    await this.ctx.storage.setAlarm(now + Math.floor(Math.random() * HOUR_MS))
  }

  #fact(name: string): SqlStorageValue | undefined {
    const [row] = this.ctx.storage.sql
      .exec<{ value: SqlStorageValue }>('select value from facts where name = ?', name)
      .toArray()
    return row?.value
  }

  #setFact(name: string, value: string | number): void {
    this.ctx.storage.sql.exec(
      'insert into facts values (?, ?) on conflict do update set value = excluded.value',
      name,
      value,
    )
  }

  /** Whether anything was written since the object was made or emptied. */
  #hasTables(): boolean {
    const query = "select 1 from sqlite_master where name = 'facts'"
    return this.ctx.storage.sql.exec(query).toArray().length > 0
  }

  /** Tables are made on first use: an emptied object's live instance has none. */
  #open(): MeterStore {
    if (this.#meters !== undefined) return this.#meters
    const { sql } = this.ctx.storage
    sql.exec(SCHEMA)
    makeUsageTables(sql)
    this.#meters = new MeterStore(sql)
    return this.#meters
  }
}

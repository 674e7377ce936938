import { DurableObject } from 'cloudflare:workers'

/** When a device last checked in, and its newest report with the time of that. Milliseconds. */
export type CheckIn = {
  readonly seenAt: number
  readonly report: string | null
}

/**
 * What changes with every call of one device, in one object that lives near it, so that no call
 * writes to D1. It has one clock: its own.
 */
export class DeviceState extends DurableObject<Env> {
  #hasTables = false

  /** Keeps the report (JSON text), or only the time when there is none. */
  checkIn(report: string | null): { receivedAt: number } {
    const now = Date.now()
    this.#sql().exec(
      `insert into check_in (only, seen_at, report) values (1, ?, ?)
       on conflict (only) do update set
         seen_at = excluded.seen_at, report = coalesce(excluded.report, check_in.report)`,
      now,
      report,
    )
    return { receivedAt: now }
  }

  lastCheckIn(): CheckIn | undefined {
    const [row] = this.#sql()
      .exec<{ seen_at: number; report: string | null }>('select seen_at, report from check_in')
      .toArray()
    return row === undefined ? undefined : { seenAt: row.seen_at, report: row.report }
  }

  /** Tables are made on first use: an emptied object's live instance has none. */
  #sql(): SqlStorage {
    const { sql } = this.ctx.storage
    if (!this.#hasTables) {
      sql.exec(
        `create table if not exists check_in
           (only integer primary key check (only = 1), seen_at integer not null, report text)`,
      )
      this.#hasTables = true
    }
    return sql
  }
}

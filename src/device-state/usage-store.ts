import { periodStart } from '../domain/quota.ts'
import { DAY_MS, MINUTE_MS } from '../domain/time.ts'
import type { LastUse, UsageCount, UsageInterval, UsageRow } from '../domain/usage-count.ts'

const HOURS_KEPT_MS = 90 * DAY_MS
const DAYS_KEPT_MS = 2 * 365 * DAY_MS

const SCHEMA = `
  create table if not exists usage_hours
    (key_id text, start integer, outcome text, count integer not null,
     primary key (key_id, start, outcome)) without rowid;
  create table if not exists usage_days
    (key_id text, start integer, outcome text, count integer not null,
     primary key (key_id, start, outcome)) without rowid;
  create table if not exists last_used
    (secret_hash text primary key, key_id text not null, at integer not null) without rowid;`

const TABLES = { hour: 'usage_hours', day: 'usage_days' } as const satisfies Record<
  UsageInterval,
  string
>

export function makeUsageTables(sql: SqlStorage): void {
  sql.exec(SCHEMA)
}

/** Adds verifies to the hour and the day in which they were. */
export function addUsage(sql: SqlStorage, counts: Iterable<UsageCount>): void {
  for (const { keyId, secretHash, outcome, count, at } of counts) {
    for (const interval of ['hour', 'day'] as const) {
      sql.exec(
        `insert into ${TABLES[interval]} (key_id, start, outcome, count) values (?, ?, ?, ?)
         on conflict do update set count = count + excluded.count`,
        keyId,
        periodStart(interval, at),
        outcome,
        count,
      )
    }
    if (outcome === 'allowed') noteLastUse(sql, { keyId, secretHash, at })
  }
}

/** Keeps the minute of a secret's last use. */
function noteLastUse(sql: SqlStorage, { keyId, secretHash, at }: LastUse): void {
  sql.exec(
    `insert into last_used (secret_hash, key_id, at) values (?, ?, ?)
     on conflict do update set at = excluded.at where excluded.at > at`,
    secretHash,
    keyId,
    at - (at % MINUTE_MS),
  )
}

/** The kept counts of whole hours or days from the one to before the other. */
export function readUsage(
  sql: SqlStorage,
  interval: UsageInterval,
  from: number,
  to: number,
): UsageRow[] {
  return sql
    .exec<{ start: number; key_id: string; outcome: string; count: number }>(
      `select start, key_id, outcome, count from ${TABLES[interval]}
       where start >= ? and start < ? order by start, key_id, outcome`,
      periodStart(interval, from),
      to,
    )
    .toArray()
    .map(({ start, key_id: keyId, outcome, count }) => ({ start, keyId, outcome, count }))
}

/** When each secret was last used, also those that have ended since. */
export function readLastUses(sql: SqlStorage): LastUse[] {
  return sql
    .exec<{ secret_hash: string; key_id: string; at: number }>('select * from last_used')
    .toArray()
    .map(({ secret_hash: secretHash, key_id: keyId, at }) => ({ secretHash, keyId, at }))
}

/** Forgets what is older than 90 days of hours and two years of days. */
export function pruneUsage(sql: SqlStorage, now: number): void {
  sql.exec('delete from usage_hours where start < ?', now - HOURS_KEPT_MS)
  sql.exec('delete from usage_days where start < ?', now - DAYS_KEPT_MS)
}

export function hasUsage(sql: SqlStorage): boolean {
  return sql.exec('select 1 from usage_days limit 1').toArray().length > 0
}

import { type SQL, sql } from 'drizzle-orm'
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'

/** The new value of a `disabled_at` column: switched off again keeps the first time. */
export function disabledAtFor(enabled: boolean, column: AnySQLiteColumn, now: number): SQL | null {
  return enabled ? null : sql`coalesce(${column}, ${now})`
}

/** What a `disabled_at` column says, as a JSON boolean. */
export function enabledIn(column: AnySQLiteColumn): SQL {
  return sql`json(iif(${column} is null, 'true', 'false'))`
}

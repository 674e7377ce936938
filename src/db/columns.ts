import { getTableColumns, is, or, SQL, sql } from 'drizzle-orm'
import type { AnySQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'

/** The new value of a `disabled_at` column: switched off again keeps the first time. */
export function disabledAtFor(enabled: boolean, column: AnySQLiteColumn, now: number): SQL | null {
  return enabled ? null : sql`coalesce(${column}, ${now})`
}

/** What a `disabled_at` column says, as a JSON boolean. */
export function enabledIn(column: AnySQLiteColumn): SQL {
  return sql`json(iif(${column} is null, 'true', 'false'))`
}

/** A boolean column as a JSON boolean: SQLite keeps 0 or 1. */
export function jsonBoolean(column: AnySQLiteColumn): SQL {
  return sql`json(iif(${column}, 'true', 'false'))`
}

/** Whether an update to these fields would change the row. */
export function differsFrom(table: SQLiteTable, fields: Readonly<Record<string, unknown>>) {
  const columns = new Map(Object.entries(getTableColumns(table)))
  const differences = Object.entries(fields).flatMap(([name, value]) => {
    const column = columns.get(name)
    if (column === undefined) return []
    const given = is(value, SQL) || value === null ? value : sql.param(value, column)
    return [sql`${column} is not ${given}`]
  })
  return or(...differences)
}

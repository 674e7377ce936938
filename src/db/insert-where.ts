import { getTableColumns, type InferInsertModel, is, SQL, sql } from 'drizzle-orm'
import { SQLiteColumn, type SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { Database } from './client.ts'

/** A row by its columns' names. A value may also be SQL, or a column of the table selected from. */
export type RowOf<Table extends SQLiteTable> = {
  readonly [Column in keyof InferInsertModel<Table>]:
    | InferInsertModel<Table>[Column]
    | SQL
    | SQLiteColumn
}

/**
 * The statement that inserts a row where a predicate holds: an INSERT … SELECT whose columns are
 * named, so that a missing, unknown or wrongly typed one does not compile, and a new column of the
 * table shifts no other.
 * @param from the table to select from: each of its rows that fits inserts one row
 * @example
 *     insertWhere(db, purges, { deviceId: devices.id, at: now }, isTheirs, devices)
 */
export function insertWhere<Table extends SQLiteTable>(
  db: Database,
  table: Table,
  row: RowOf<Table>,
  happens: SQL | undefined,
  from?: SQLiteTable | SQL,
) {
  const given = new Map<string, unknown>(Object.entries(row))
  const values = Object.entries(getTableColumns(table)).map(([name, column]) =>
    fragment(given.get(name), column),
  )
  const source = from === undefined ? sql`` : sql` from ${from}`
  return db
    .insert(table)
    .select(sql`select ${sql.join(values, sql`, `)}${source} where ${happens ?? sql`true`}`)
}

/** Keeps SQL, encodes a value as its column does, and puts a missing value's default. */
function fragment(value: unknown, column: SQLiteColumn): SQL {
  if (is(value, SQL) || is(value, SQLiteColumn)) return sql`${value}`
  const kept = value === undefined ? column.default : value
  return kept === undefined || kept === null ? sql`null` : sql`${sql.param(kept, column)}`
}

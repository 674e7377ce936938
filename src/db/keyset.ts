import { type SQL, sql } from 'drizzle-orm'
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'

/** Where a page begins: after the row of this time and id. */
export type Position = { readonly at: number; readonly id: string }

/**
 * The rows after a position in the order of time and id, oldest first. SQLite looks a row value up
 * in the index. For `at > ? or (at = ? and id > ?)` it would read all earlier pages first.
 */
export function isAfter(at: AnySQLiteColumn, id: AnySQLiteColumn, position: Position): SQL {
  return sql`(${at}, ${id}) > (${position.at}, ${position.id})`
}

/** The rows after a position where the newest come first. */
export function isBefore(at: AnySQLiteColumn, id: AnySQLiteColumn, position: Position): SQL {
  return sql`(${at}, ${id}) < (${position.at}, ${position.id})`
}

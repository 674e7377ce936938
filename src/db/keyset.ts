import { and, eq, gt, lt, or, type SQL } from 'drizzle-orm'
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'

/** Where a page begins: after the row of this time and id. */
export type Position = { readonly at: number; readonly id: string }

/** The rows after a position in the order of time and id, oldest first. */
export function isAfter(
  at: AnySQLiteColumn,
  id: AnySQLiteColumn,
  position: Position,
): SQL | undefined {
  return or(gt(at, position.at), and(eq(at, position.at), gt(id, position.id)))
}

/** The rows after a position where the newest come first. */
export function isBefore(
  at: AnySQLiteColumn,
  id: AnySQLiteColumn,
  position: Position,
): SQL | undefined {
  return or(lt(at, position.at), and(eq(at, position.at), lt(id, position.id)))
}

import { type SQL, sql } from 'drizzle-orm'
import type { SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { Database } from './client.ts'

/** Rows that one statement deletes: more would keep the one writer of D1 from all others. */
const SLICE = 5000

/** What a slice of work did: how many things, and whether there may be more to do. */
export type SliceDone = { readonly done: number; readonly isMore: boolean }

/** Deletes rows that a predicate on the table names, up to a slice of them. */
export async function deleteSlice(
  db: Database,
  table: SQLiteTable,
  which: SQL | undefined,
): Promise<SliceDone> {
  const slice = sql`rowid in (select rowid from ${table} where ${which} limit ${SLICE})`
  const { meta } = await db.delete(table).where(slice).run()
  return { done: meta.changes, isMore: meta.changes >= SLICE }
}

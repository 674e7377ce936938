import { and, eq, isNull, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import type { SliceDone } from '../../db/delete-slice.ts'
import { devices } from '../../db/schema.ts'
import { foldForSearch } from '../../domain/names.ts'
import type { VerifyContext } from '../context.ts'

const SLICE = 1000

/** Folds names that were written before searches compared folded ones. */
export async function foldNames({ database }: VerifyContext): Promise<SliceDone> {
  const db = openDatabase(database)
  const unfolded = isNull(devices.nameFolded)
  const rows = await db
    .select({ id: devices.id, name: devices.name })
    .from(devices)
    .where(unfolded)
    .limit(SLICE)
  if (rows.length === 0) return { done: 0, isMore: false }
  // Somebody may change a name meanwhile, and fold the new one.
  const isUnchanged = eq(devices.name, sql`named.value ->> 1`)
  const folded = JSON.stringify(rows.map(({ id, name }) => [id, name, foldForSearch(name)]))
  await db
    .update(devices)
    .set({ nameFolded: sql`named.value ->> 2` })
    .from(sql`json_each(${folded}) as named`)
    .where(and(eq(devices.id, sql`named.value ->> 0`), isUnchanged))
  return { done: rows.length, isMore: rows.length === SLICE }
}

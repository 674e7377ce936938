import { lt, type SQL } from 'drizzle-orm'
import { type Database, openDatabase } from '../../db/client.ts'
import { deleteSlice, type SliceDone } from '../../db/delete-slice.ts'
import { insertWhere } from '../../db/insert-where.ts'
import { revocations } from '../../db/schema.ts'
import { feedCutoff } from '../../domain/device-token.ts'
import type { VerifyContext } from '../context.ts'

/** What ended, and whose it is. A fragment where only the database knows. */
type End = { readonly subject: string; readonly ownerId: string | SQL; readonly at: number }

/**
 * The statement that puts an end on the feed, for the change's own batch: device tokens of the
 * subject that were issued before it are dead. It does so only where `happens` holds.
 */
export function recordRevocation(db: Database, end: End, happens: SQL | undefined) {
  return insertWhere(db, revocations, end, happens)
}

/** Deletes entries that are older than any token that they could concern. */
export async function pruneFeed({ database, settings, now }: VerifyContext): Promise<SliceDone> {
  const cutoff = feedCutoff(settings.deviceTokenSeconds, now)
  return await deleteSlice(openDatabase(database), revocations, lt(revocations.at, cutoff))
}

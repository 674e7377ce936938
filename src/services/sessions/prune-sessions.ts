import { inArray, lt, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { sessions } from '../../db/schema.ts'
import { DAY_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** How long an ended session is remembered, so that its late refresh is told why. */
const REMEMBERED_MS = DAY_MS
/** How many one run deletes: the rest waits for the next. */
const PRUNED_MAX = 5000

/** Deletes sessions that expired long enough ago, also of users who never come back. */
export async function pruneSessions({ database, now }: VerifyContext): Promise<void> {
  const expired = sql`(select ${sessions.id} from ${sessions}
    where ${lt(sessions.expiresAt, now - REMEMBERED_MS)} limit ${PRUNED_MAX})`
  await openDatabase(database).delete(sessions).where(inArray(sessions.id, expired))
}

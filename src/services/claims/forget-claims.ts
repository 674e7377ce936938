import { inArray, lt, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deviceClaims } from '../../db/schema.ts'
import { HOUR_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** How long an ended claim is remembered, so that a late poll is told `expired_token`. */
const REMEMBERED_MS = HOUR_MS
/** How many one run deletes: the rest waits for the next. */
const FORGOTTEN_MAX = 5000

/** Deletes claims that ended long enough ago. */
export async function forgetClaims({ database, now }: VerifyContext): Promise<void> {
  const ended = sql`(select ${deviceClaims.id} from ${deviceClaims}
    where ${lt(deviceClaims.expiresAt, now - REMEMBERED_MS)} limit ${FORGOTTEN_MAX})`
  await openDatabase(database).delete(deviceClaims).where(inArray(deviceClaims.id, ended))
}

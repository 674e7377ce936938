import { lt } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deleteSlice, type SliceDone } from '../../db/delete-slice.ts'
import { deviceClaims } from '../../db/schema.ts'
import { HOUR_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** How long an ended claim is remembered, so that a late poll is told `expired_token`. */
const REMEMBERED_MS = HOUR_MS

/** Deletes claims that ended long enough ago. */
export async function forgetClaims({ database, now }: VerifyContext): Promise<SliceDone> {
  const isOld = lt(deviceClaims.expiresAt, now - REMEMBERED_MS)
  return await deleteSlice(openDatabase(database), deviceClaims, isOld)
}

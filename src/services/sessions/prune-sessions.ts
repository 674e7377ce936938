import { lt } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deleteSlice, type SliceDone } from '../../db/delete-slice.ts'
import { sessions } from '../../db/schema.ts'
import { DAY_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** How long an ended session is remembered, so that its late refresh is told why. */
const REMEMBERED_MS = DAY_MS

/** Deletes sessions that expired long enough ago, also of users who never come back. */
export async function pruneSessions({ database, now }: VerifyContext): Promise<SliceDone> {
  const isOld = lt(sessions.expiresAt, now - REMEMBERED_MS)
  return await deleteSlice(openDatabase(database), sessions, isOld)
}

import { lte } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deleteSlice, type SliceDone } from '../../db/delete-slice.ts'
import { signInNetworks } from '../../db/schema.ts'
import type { VerifyContext } from '../context.ts'
import { NETWORK_KNOWN_MS } from './find-account.ts'

/** Deletes the networks that no longer count as an account's own. */
export async function forgetSignInNetworks({ database, now }: VerifyContext): Promise<SliceDone> {
  const isOld = lte(signInNetworks.signedInAt, now - NETWORK_KNOWN_MS)
  return await deleteSlice(openDatabase(database), signInNetworks, isOld)
}

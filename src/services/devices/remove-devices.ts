import { inArray, type SQL, sql } from 'drizzle-orm'
import { apiKeys, devices, keySecrets, purges } from '../../db/schema.ts'
import type { Change } from '../changes/open-change.ts'

/**
 * The statements of a change that delete devices with all that hangs on them. The hashes of their
 * secrets stay as tombstones: a late caller is told `revoked`, and no import brings one back. Their
 * Durable Objects are noted to be emptied.
 * @param which a predicate on `devices`, under which all of them belong to the user
 */
export function removeDevices(change: Change, userId: string, which: SQL | undefined) {
  const { db, ctx } = change
  const doomed = db.select({ id: devices.id }).from(devices).where(which)
  const keys = db.select({ id: apiKeys.id }).from(apiKeys).where(inArray(apiKeys.deviceId, doomed))
  const tombstone = {
    keyId: null,
    tombstoneUserId: userId,
    firstUsedCountry: null,
    revokedAt: sql`coalesce(${keySecrets.revokedAt}, ${ctx.now})`,
  }
  return {
    purges: change
      .insert(purges, { deviceId: devices.id, userId, at: ctx.now }, { if: which, from: devices })
      .onConflictDoNothing(),
    secrets: change.update(keySecrets, tombstone, inArray(keySecrets.keyId, keys)),
    keys: change.remove(apiKeys, inArray(apiKeys.deviceId, doomed)),
    devices: change.remove(devices, which),
  }
}

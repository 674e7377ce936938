import { inArray, type SQL, sql } from 'drizzle-orm'
import type { Database } from '../../db/client.ts'
import { apiKeys, devices, keySecrets, purges } from '../../db/schema.ts'

/**
 * The statements that delete devices with all that hangs on them, for a batch. The hashes of their
 * secrets stay as tombstones: a late caller is told `revoked`, and no import brings one back. Their
 * Durable Objects are noted to be emptied.
 * @param which a predicate on `devices`, under which all of them belong to the user
 */
export function removeDevices(db: Database, now: number, userId: string, which: SQL | undefined) {
  const doomed = db.select({ id: devices.id }).from(devices).where(which)
  const keys = db.select({ id: apiKeys.id }).from(apiKeys).where(inArray(apiKeys.deviceId, doomed))
  return [
    db
      .insert(purges)
      .select(sql`select ${devices.id}, ${now} from ${devices} where ${which}`)
      .onConflictDoNothing(),
    db
      .update(keySecrets)
      .set({
        keyId: null,
        tombstoneUserId: userId,
        revokedAt: sql`coalesce(${keySecrets.revokedAt}, ${now})`,
      })
      .where(inArray(keySecrets.keyId, keys)),
    db.delete(apiKeys).where(inArray(apiKeys.deviceId, doomed)),
    db.delete(devices).where(which).returning({ id: devices.id }),
  ] as const
}

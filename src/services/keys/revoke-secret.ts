import { and, eq, isNull, type SQL, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { apiKeys, keySecrets } from '../../db/schema.ts'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import { recordAudit, type Change } from '../changes/record-audit.ts'
import { evictingAfter } from '../changes/evict-after.ts'
import { isLiveSecret } from './find-keys.ts'
import { recordRevocation } from '../verify/read-feed.ts'

/**
 * Ends one secret at its own client's word, and its key if no other secret of it lives (RFC 7009).
 * Ending it again changes nothing.
 */
export async function endSecret(
  change: Change,
  { key, device, owner }: KeyPolicySnapshot,
  secretHash: string,
): Promise<void> {
  const { now } = change
  const db = openDatabase(change.database)
  const its = and(eq(keySecrets.hash, secretHash), isLiveSecret(now))
  const isLive = sql`exists (select 1 from ${keySecrets} where ${its})`
  const wasLast = and(
    eq(apiKeys.id, key.id),
    isNull(apiKeys.revokedAt),
    sql`not exists (select 1 from ${keySecrets}
      where ${and(eq(keySecrets.keyId, key.id), isLiveSecret(now))})`,
  )
  const of = { userId: owner.id, deviceId: device.id, keyId: key.id }
  const lastOne = sql`exists (select 1 from ${apiKeys} where ${wasLast})`
  await evictingAfter(
    key.id,
    async () =>
      await db.batch([
        recordAudit(db, change, { action: 'key.secret_ended', ...of, before: hintOf(its) }, isLive),
        recordRevocation(db, secretHash, now, isLive),
        db
          .update(keySecrets)
          .set({ revokedAt: now })
          .where(its)
          .returning({ hash: keySecrets.hash }),
        recordAudit(db, change, { action: 'key.revoked', ...of }, lastOne),
        recordRevocation(db, key.id, now, lastOne),
        db
          .update(apiKeys)
          .set({ revokedAt: now, revokedReason: 'client', updatedAt: now })
          .where(wasLast),
      ]),
    ([, , ended]) => ended.length > 0,
  )
}

function hintOf(secret: SQL | undefined): SQL {
  return sql`(select json_object('hint', ${keySecrets.hint}) from ${keySecrets} where ${secret})`
}

import { and, eq, isNull, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { keySecrets } from '../../db/schema.ts'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import { recordAudit } from '../changes/record-audit.ts'
import type { Caller } from './throttle-unknown.ts'

/**
 * Puts on record, once a secret, that somebody used it after a rotation ended it, so that the owner
 * sees which device still holds the old one. The one write that a verify may cause: after the
 * response, and guarded by the flag that it sets.
 */
export async function recordRetiredUse(
  database: D1Database,
  hash: string,
  policy: KeyPolicySnapshot,
  now: number,
  caller: Caller | undefined,
): Promise<void> {
  const db = openDatabase(database)
  const unnoted = and(eq(keySecrets.hash, hash), isNull(keySecrets.retiredUseAt))
  const actor = { type: 'device', id: policy.device.id } as const
  await db.batch([
    recordAudit(
      db,
      { database, now, actor, ip: caller?.ip ?? null, requestId: caller?.requestId ?? null },
      {
        action: 'key.retired_secret_used',
        userId: policy.owner.id,
        deviceId: policy.device.id,
        keyId: policy.key.id,
        after: sql`(select json_object('hint', ${keySecrets.hint}) from ${keySecrets}
          where ${unnoted})`,
      },
      sql`exists (select 1 from ${keySecrets} where ${unnoted})`,
    ),
    db.update(keySecrets).set({ retiredUseAt: now }).where(unnoted),
  ])
}

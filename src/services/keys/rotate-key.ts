import { and, eq, gt, isNull, ne, or, sql } from 'drizzle-orm'
import { makeSecret, type NewSecret } from '../../crypto/secrets.ts'
import { openDatabase } from '../../db/client.ts'
import { apiKeys, keySecrets, revocations } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { Settings } from '../../settings.ts'
import { recordAudit, type Change } from '../changes/record-audit.ts'
import { evictingAfter } from '../changes/evict-after.ts'
import {
  isLiveSecret,
  type Key,
  keyOf,
  type KeyPath,
  ownKey,
  selectKey,
  statusOf,
} from './find-keys.ts'

/**
 * Gives a key a new secret. The old one lives on for the overlap, but never beyond its own end or
 * the key's; an overlap of 0 ends all others at once.
 */
export async function rotateKey(
  change: Change,
  path: KeyPath,
  overlapSeconds: number,
  settings: Settings,
): Promise<
  Result<
    { key: Key; secret: string },
    'not_found' | 'key_revoked' | 'key_expired' | 'overlap_running'
  >
> {
  const made = await makeSecret(settings.keyPrefix, settings.checkSecrets)
  const { deviceTokenSeconds: tokenSeconds } = settings
  const { isMinted, key } = await evictingAfter(
    path.keyId,
    async () => await replaceSecret(change, path, { overlapSeconds, tokenSeconds }, made),
    (outcome) => outcome.isMinted,
  )
  if (key === undefined) return err('not_found')
  if (isMinted) return ok({ key, secret: made.secret })
  switch (statusOf(key, change.now)) {
    case 'revoked':
      return err('key_revoked')
    case 'expired':
      return err('key_expired')
    case 'active':
    case 'disabled':
      return err('overlap_running')
  }
}

type Overlap = { readonly overlapSeconds: number; readonly tokenSeconds: number }

/**
 * However many rotate at once, at most two secrets live: the insert is guarded by "fewer than two
 * live", and all that follows by the new hash as witness.
 */
async function replaceSecret(
  change: Change,
  path: KeyPath,
  { overlapSeconds, tokenSeconds }: Overlap,
  { hash, hint, checkId }: NewSecret,
): Promise<{ readonly isMinted: boolean; readonly key: Key | undefined }> {
  const { now } = change
  const db = openDatabase(change.database)
  const ofKey = eq(keySecrets.keyId, path.keyId)
  const mayMint = and(
    ownKey(path),
    isNull(apiKeys.revokedAt),
    // A new secret of an expired key would be dead on arrival, and the old one gone.
    or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, now)),
    overlapSeconds === 0
      ? undefined
      : sql`(select count(*) from ${keySecrets} where ${and(ofKey, isLiveSecret(now))}) < 2`,
  )
  const minted = sql`exists (select 1 from ${keySecrets} where ${keySecrets.hash} = ${hash})`
  const others = and(ofKey, ne(keySecrets.hash, hash), isLiveSecret(now), minted)
  const overlapEnd = now + overlapSeconds * 1000
  const end = sql`min(${overlapEnd}, coalesce((select ${apiKeys.expiresAt} from ${apiKeys}
    where ${apiKeys.id} = ${path.keyId}), ${overlapEnd}))`
  // The key is read in the same batch: after the commit nothing may keep the secret from its owner.
  const [inserted, , , , rows, secrets] = await db.batch([
    db
      .insert(keySecrets)
      .select(
        sql`select ${hash}, ${apiKeys.id}, null, ${hint}, ${checkId}, 0, ${now}, null, null, null
          from ${apiKeys} where ${mayMint}`,
      )
      .returning({ hash: keySecrets.hash }),
    // Tokens of a secret that ends before they do end now: their device gets another.
    db.insert(revocations).select(
      sql`select null, ${keySecrets.hash}, ${now} from ${keySecrets}
        where ${and(others, overlapSeconds < tokenSeconds ? undefined : sql`false`)}`,
    ),
    overlapSeconds === 0
      ? db.update(keySecrets).set({ revokedAt: now }).where(others)
      : db
          .update(keySecrets)
          .set({ expiresAt: end })
          .where(and(others, or(isNull(keySecrets.expiresAt), gt(keySecrets.expiresAt, end)))),
    recordAudit(
      db,
      change,
      { action: 'key.rotated', ...path, after: { hint, overlap_seconds: overlapSeconds } },
      minted,
    ),
    ...selectKey(db, path, now),
  ])
  return { isMinted: inserted.length > 0, key: keyOf(rows, secrets) }
}

import { and, eq, gt, isNull, ne, or, type SQL, sql } from 'drizzle-orm'
import { makeSecret, type NewSecret } from '../../crypto/secrets.ts'
import { apiKeys, keySecrets, revocations } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { type Change, openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { secretRow } from './create-key.ts'
import {
  isLiveSecret,
  type Key,
  keyOf,
  type KeyPath,
  ownKey,
  selectKey,
  statusOf,
} from './find-keys.ts'

export type RotationRefusal = 'not_found' | 'key_revoked' | 'key_expired' | 'overlap_running'

/**
 * Gives a key a new secret. The old one lives on for the overlap, but never beyond its own end or
 * the key's; an overlap of 0 ends all others at once. However many rotate at once, at most two
 * secrets live: each rotation with an overlap demands that fewer than two do.
 */
export async function rotateKey(
  ctx: AuditContext,
  input: { readonly path: KeyPath; readonly overlapSeconds: number },
): Promise<Result<{ key: Key; secret: string }, RotationRefusal>> {
  const { path, overlapSeconds } = input
  const { settings, now } = ctx
  const made = await makeSecret(settings.keyPrefix, settings.checkSecrets)
  const after = { hint: made.hint, overlap_seconds: overlapSeconds }
  const change = openChange(
    ctx,
    { action: 'key.rotated', ...path, after },
    mayRotate(path, overlapSeconds, now),
  )
  const committed = await commitThenEvict(change, path.keyId, {
    minted: change.insert(keySecrets, secretRow(path.keyId, made, now)),
    ...endOthers(change, path.keyId, made, overlapSeconds),
    // The key is read in the same batch: after the commit nothing may keep the secret back.
    ...selectKey(change.db, path, now),
  })
  const key = keyOf(committed)
  if (!key.ok) return key
  if (committed.happened) return ok({ key: key.value, secret: made.secret })
  switch (statusOf(key.value, now)) {
    case 'revoked':
      return err('key_revoked')
    case 'expired':
      return err('key_expired')
    case 'active':
    case 'disabled':
      return err('overlap_running')
  }
}

function mayRotate(path: KeyPath, overlapSeconds: number, now: number): SQL {
  const hasRoom = sql`(select count(*) from ${keySecrets}
    where ${and(eq(keySecrets.keyId, path.keyId), isLiveSecret(now))}) < 2`
  const rotatable = and(
    ownKey(path),
    isNull(apiKeys.revokedAt),
    // An expired key cannot be rotated: its new secret would be unusable.
    or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, now)),
    overlapSeconds === 0 ? undefined : hasRoom,
  )
  return sql`exists (select 1 from ${apiKeys} where ${rotatable})`
}

/** The statements that end a key's other secrets: now, or when the overlap is over. */
function endOthers(change: Change, keyId: string, { hash }: NewSecret, overlapSeconds: number) {
  const { now, settings } = change.ctx
  const others = and(eq(keySecrets.keyId, keyId), ne(keySecrets.hash, hash), isLiveSecret(now))
  const overlapEnd = now + overlapSeconds * 1000
  const end = sql`min(${overlapEnd}, coalesce((select ${apiKeys.expiresAt} from ${apiKeys}
    where ${apiKeys.id} = ${keyId}), ${overlapEnd}))`
  // A token must not outlive its secret. If the overlap is shorter than a token, all end now.
  const tokens = change.insert(
    revocations,
    { subject: keySecrets.hash, at: now },
    {
      if: overlapSeconds < settings.deviceTokenSeconds ? others : sql`false`,
      from: keySecrets,
    },
  )
  const secrets =
    overlapSeconds === 0
      ? change.update(keySecrets, { revokedAt: now }, others)
      : change.update(
          keySecrets,
          { expiresAt: end },
          and(others, or(isNull(keySecrets.expiresAt), gt(keySecrets.expiresAt, end))),
        )
  return { tokens, secrets }
}

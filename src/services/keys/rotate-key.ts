import { and, eq, gt, isNull, or, type SQL, sql } from 'drizzle-orm'
import { makeSecret, type NewSecret } from '../../crypto/secrets.ts'
import { apiKeys, keySecrets } from '../../db/schema.ts'
import { err, type Result } from '../../domain/result.ts'
import { HOUR_MS } from '../../domain/time.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { rememberOnce, type Reused, unlessDone } from '../changes/idempotency.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import {
  isLiveSecret,
  type Key,
  keyOf,
  type KeyPath,
  ownKey,
  selectKey,
  statusOf,
} from './find-keys.ts'
import { insertSuccessor, isSettled, type Rotation } from './insert-successor.ts'
import { type IssuedKey, issuedAgain, issuedNow } from './issued-key.ts'

/** How many secrets of a key its owner may have made in an hour, its first one aside. */
const ROTATIONS_MAX_PER_HOUR = 10

export type RotationRefusal = 'not_found' | 'key_revoked' | 'key_expired' | 'overlap_running'

/**
 * Gives a key a new secret. The old one lives on for the overlap, which begins now, or
 * (`untilUsed`) when the new one is first used; it never lives beyond its own end or the key's. An
 * overlap of 0 that begins now ends all others at once. However many rotate at once, at most two
 * secrets live.
 */
export async function rotateKey(
  ctx: AuditContext,
  input: Rotation & { readonly path: KeyPath },
): Promise<Result<IssuedKey, RotationRefusal | 'rate_limited' | Reused>> {
  const { path, overlapSeconds, untilUsed } = input
  const { settings, now } = ctx
  const made = await makeSecret(settings.keyPrefix, settings.checkSecrets)
  const recent = rotatedSince(now - HOUR_MS)
  const isSeldom = sql`${recent} < ${ROTATIONS_MAX_PER_HOUR}`
  const rotatable = and(ownKey(path), mayRotate(input, now), isSeldom)
  const handedOut = { ...path, secret: made.secret }
  const change = openChange(
    ctx,
    { action: 'key.rotated', ...path, after: auditFieldsOf(input, made) },
    sql`exists (select 1 from ${apiKeys} where ${rotatable})`,
    await rememberOnce(ctx, handedOut),
  )
  const outcome = await unlessDone(
    ctx,
    async () =>
      await commitThenEvict(change, path.keyId, {
        ...insertSuccessor(change, path.keyId, made, { overlapSeconds, untilUsed }),
        // The key is read in the same batch: after the commit nothing may keep the secret back.
        ...selectKey(change.db, path, now),
        counted: change.db
          .select({ recent: sql<number>`${recent}` })
          .from(apiKeys)
          .where(eq(apiKeys.id, path.keyId)),
      }),
  )
  if ('repeated' in outcome) return await issuedAgain(ctx, path.userId, outcome.repeated)
  const key = keyOf(outcome.made)
  if (!key.ok) return key
  if (outcome.made.happened) return issuedNow(key.value, made)
  const isTooOften = (outcome.made.counted[0]?.recent ?? 0) >= ROTATIONS_MAX_PER_HOUR
  return err(isTooOften ? 'rate_limited' : refusalOf(key.value, now))
}

/**
 * How many secrets of the key at hand its owner has made since a time. What its device made by
 * itself does not count: whoever stole a secret must not keep the owner from rotating.
 */
function rotatedSince(since: number): SQL {
  const rotated = and(
    eq(keySecrets.keyId, apiKeys.id),
    isNull(keySecrets.mintedWith),
    gt(keySecrets.createdAt, since),
    // The first one came with the key.
    gt(keySecrets.createdAt, apiKeys.createdAt),
  )
  return sql`(select count(*) from ${keySecrets} where ${rotated})`
}

/** Whether a key may be rotated now, of which the row is at hand. */
export function mayRotate(
  { path, overlapSeconds, untilUsed }: Rotation & { readonly path: Pick<KeyPath, 'keyId'> },
  now: number,
): SQL | undefined {
  const hasRoom = sql`(select count(*) from ${keySecrets}
    where ${and(eq(keySecrets.keyId, path.keyId), isLiveSecret(now), isSettled())}) < 2`
  return and(
    isNull(apiKeys.revokedAt),
    // An expired key cannot be rotated: its new secret would be unusable.
    or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, now)),
    overlapSeconds === 0 && !untilUsed ? undefined : hasRoom,
  )
}

export function auditFieldsOf(
  { overlapSeconds, untilUsed }: Rotation,
  { hint }: NewSecret,
): Record<string, unknown> {
  return {
    hint,
    overlap_seconds: overlapSeconds,
    ...(untilUsed ? { until_used: true } : {}),
  }
}

/** Why a key that is there was not rotated: for the answer only, nothing is decided here. */
export function refusalOf(key: Key, now: number): Exclude<RotationRefusal, 'not_found'> {
  switch (statusOf(key, now)) {
    case 'revoked':
      return 'key_revoked'
    case 'expired':
      return 'key_expired'
    case 'active':
    case 'disabled':
      return 'overlap_running'
  }
}

import { waitUntil } from 'cloudflare:workers'
import { and, eq, gt, isNull, or, sql } from 'drizzle-orm'
import { batch } from '../../db/batch.ts'
import { type Database, openDatabase } from '../../db/client.ts'
import { insertWhere } from '../../db/insert-where.ts'
import { keySecrets, revocations } from '../../db/schema.ts'
import type { KeyPolicySnapshot, KeySnapshot } from '../../domain/evaluate-key.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** The platform ends work after a response at 30 s. */
const RETRY_PAUSES_MS = [500, 2000, 5000]

type FirstUse = {
  readonly hash: string
  readonly snapshot: KeySnapshot
  readonly policy: KeyPolicySnapshot
  readonly country: string | null
}

/**
 * Puts on record, once a secret, that it was accepted: whoever asked for it holds it. The write
 * comes after the answer.
 */
export function noteFirstUse(ctx: VerifyContext, use: FirstUse): void {
  if (use.snapshot.secret.isFirstUseNoted) return
  ctx.isolate.keys.noteUse(use.hash, 'isFirstUseNoted')
  waitUntil(recordLater(ctx, use))
}

/**
 * A use that is not on record makes a secret look as if nobody held it, so it is tried again. If
 * all tries fail, the next use after a refresh of the cache tries anew.
 */
async function recordLater(ctx: VerifyContext, use: FirstUse): Promise<void> {
  for (const pauseMs of RETRY_PAUSES_MS) {
    try {
      await recordFirstUse(ctx, use)
      return
    } catch {
      await scheduler.wait(pauseMs)
    }
  }
}

/**
 * Records the first use of a secret. If another secret lives only until then, that one ends now, or
 * when the overlap that was asked for is over.
 */
export async function recordFirstUse(ctx: VerifyContext, use: FirstUse): Promise<void> {
  const { now } = ctx
  const db = openDatabase(ctx.database)
  const unused = and(
    eq(keySecrets.hash, use.hash),
    isNull(keySecrets.firstUsedAt),
    isNull(keySecrets.revokedAt),
  )
  const noted = { firstUsedAt: now, firstUsedCountry: use.country }
  const used = db.update(keySecrets).set(noted).where(unused)
  if (!use.snapshot.secret.isReplacement) {
    await used
    return
  }
  let mayHaveEnded = true
  try {
    const { ended } = await batch(db, { used, ...endReplaced(db, ctx, use) })
    mayHaveEnded = ended.length > 0
  } finally {
    if (mayHaveEnded) ctx.isolate.evict(use.policy.key.id)
  }
}

/** The statements that end what a secret replaces, if this very batch noted its first use. */
function endReplaced(db: Database, { settings, now }: VerifyContext, { hash, policy }: FirstUse) {
  const overlapMs = sql`(select overlap_ms from key_secrets where hash = ${hash})`
  const replaced = and(
    isNull(keySecrets.revokedAt),
    sql`${keySecrets.hash} = (select replaces from key_secrets
      where hash = ${hash} and first_used_at = ${now})`,
  )
  const end = sql`${now} + ${overlapMs}`
  return {
    // A token must not outlive its secret.
    tokens: insertWhere(
      db,
      revocations,
      { subject: keySecrets.hash, ownerId: policy.owner.id, at: now },
      and(replaced, sql`${overlapMs} < ${settings.deviceTokenSeconds * SECOND_MS}`),
      keySecrets,
    ),
    ended: db
      .update(keySecrets)
      .set({ expiresAt: end })
      .where(and(replaced, or(isNull(keySecrets.expiresAt), gt(keySecrets.expiresAt, end))))
      .returning({ hash: keySecrets.hash }),
  }
}

import { and, eq, gt, isNotNull, isNull, ne, or, type SQL, sql } from 'drizzle-orm'
import type { NewSecret } from '../../crypto/secrets.ts'
import { apiKeys, keySecrets, revocations } from '../../db/schema.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { Change } from '../changes/open-change.ts'
import { secretRow } from './create-key.ts'
import { isLiveSecret } from './find-keys.ts'

/** How a secret takes the place of another. */
export type Rotation = {
  readonly overlapSeconds: number
  /** The overlap begins when the new secret is first used; until then the old one lives. */
  readonly untilUsed: boolean
}

/**
 * A secret that somebody holds, as far as is known: it was used, or it took no other's place. What
 * is not settled is pending: its answer may have been lost, so it may be replaced.
 */
export function isSettled(): SQL | undefined {
  return or(isNotNull(keySecrets.firstUsedAt), isNull(keySecrets.replaces))
}

/**
 * The statements of a change that give a key another secret. What was pending ends, since nobody is
 * known to hold it, unless the new secret waits to take its place.
 * @param mintedWith the hash of the secret with which the key's own device asked for it
 */
export function insertSuccessor(
  change: Change,
  keyId: string,
  made: NewSecret,
  rotation: Rotation & { readonly mintedWith?: string },
) {
  const { now } = change.ctx
  const { overlapSeconds, untilUsed, mintedWith = null } = rotation
  const ofKey = eq(keySecrets.keyId, keyId)
  const others = and(ofKey, ne(keySecrets.hash, made.hash), isLiveSecret(now))
  // Where nothing is settled, what is pending may be all that the device holds: it stays.
  const kept = change.db
    .select({ hash: keySecrets.hash })
    .from(keySecrets)
    .where(and(ofKey, isLiveSecret(now)))
    .orderBy(sql`${isSettled()} desc`, keySecrets.createdAt)
    .limit(1)
  const until = untilUsed ? { replaces: sql`(${kept})`, overlapMs: overlapSeconds * SECOND_MS } : {}
  const pending = and(
    others,
    isNull(keySecrets.firstUsedAt),
    isNotNull(keySecrets.replaces),
    sql`${keySecrets.hash} <> coalesce(
      (select replaces from key_secrets where hash = ${made.hash}), '')`,
  )
  return {
    minted: change.insert(keySecrets, {
      ...secretRow(keyId, made, now),
      ...until,
      mintedWith,
    }),
    pendingTokens: endTokensOf(change, pending),
    pending: change.update(keySecrets, { revokedAt: now }, pending),
    ...(untilUsed ? {} : endOthers(change, keyId, others, overlapSeconds)),
  }
}

/** The statements that end a key's other secrets: now, or when the overlap is over. */
function endOthers(change: Change, keyId: string, others: SQL | undefined, overlapSeconds: number) {
  const { now, settings } = change.ctx
  const overlapEnd = now + overlapSeconds * SECOND_MS
  const end = sql`min(${overlapEnd}, coalesce((select ${apiKeys.expiresAt} from ${apiKeys}
    where ${apiKeys.id} = ${keyId}), ${overlapEnd}))`
  const isShort = overlapSeconds < settings.deviceTokenSeconds
  return {
    // A token must not outlive its secret. If the overlap is shorter than a token, all end now.
    ...(isShort ? { tokens: endTokensOf(change, others) } : {}),
    others:
      overlapSeconds === 0
        ? change.update(keySecrets, { revokedAt: now }, others)
        : change.update(
            keySecrets,
            { expiresAt: end },
            and(others, or(isNull(keySecrets.expiresAt), gt(keySecrets.expiresAt, end))),
          ),
  }
}

/** Ends the device tokens that were issued for these secrets. */
function endTokensOf(change: Change, secrets: SQL | undefined) {
  const entry = { subject: keySecrets.hash, ownerId: change.ownerId, at: change.ctx.now }
  return change.insert(revocations, entry, { if: secrets, from: keySecrets })
}

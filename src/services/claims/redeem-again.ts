import { and, eq, gt, isNotNull, isNull, ne, or, sql } from 'drizzle-orm'
import { makeSecret } from '../../crypto/secrets.ts'
import { openDatabase } from '../../db/client.ts'
import { apiKeys, deviceClaims, devices, keySecrets, users } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { APPROVAL_GRACE_SECONDS } from '../../domain/claim-poll.ts'
import { HOUR_MS, SECOND_MS } from '../../domain/time.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { secretRow } from '../keys/create-key.ts'
import { isLiveSecret } from '../keys/find-keys.ts'
import { parseScopes } from '../keys/key-row.ts'
import { MINTED_MAX_PER_HOUR, mintedSince } from '../keys/rotate-own-key.ts'

/** When and from where a device polls: the actor is the device that the poll makes. */
export type PollContext = Omit<AuditContext, 'actor'>

export type RedeemedClaim = {
  /** Known here and in the answer, and nowhere else. */
  readonly secret: string
  readonly deviceId: string
  readonly keyId: string
  readonly scopes: readonly string[]
}

export type ClaimRow = typeof deviceClaims.$inferSelect
/** A claim that somebody approved. */
export type ApprovedClaim = ClaimRow & { readonly approvedBy: string }

/**
 * Hands out a fresh secret of the key that a claim was spent on, and ends the earlier one: its
 * answer may have been lost. Only while no secret of the key was ever used, all of them were made
 * for this claim, and the device code has not expired.
 */
export async function redeemAgain(
  ctx: PollContext,
  claim: ApprovedClaim,
): Promise<Result<RedeemedClaim, 'invalid_grant' | 'slow_down'>> {
  const { settings, now } = ctx
  const { keyId } = claim
  const key = keyId === null ? undefined : await findClaimedKey(ctx, keyId)
  if (key === undefined) return err('invalid_grant')

  const made = await makeSecret(settings.keyPrefix, settings.checkSecrets)
  const path = { userId: claim.approvedBy, deviceId: key.deviceId, keyId: key.id }
  const recent = mintedSince(key.id, now - HOUR_MS)
  const change = openChange(
    { ...ctx, actor: { type: 'device', deviceId: key.deviceId } },
    { action: 'key.rotated', ...path, after: { hint: made.hint, claim_id: claim.id } },
    // The first is no repetition.
    and(isRepeatable(claim, key.id, now), sql`${recent} <= ${MINTED_MAX_PER_HOUR}`),
  )
  const others = and(
    eq(keySecrets.keyId, key.id),
    ne(keySecrets.hash, made.hash),
    isLiveSecret(now),
  )
  const { happened, counted } = await commitThenEvict(change, key.id, {
    counted: change.db
      .select({ recent: sql<number>`${recent}` })
      .from(apiKeys)
      .where(eq(apiKeys.id, key.id)),
    minted: change.insert(keySecrets, {
      ...secretRow(key.id, made, now),
      mintedWith: claim.id,
    }),
    ended: change.update(keySecrets, { revokedAt: now }, others),
  })
  if (happened) {
    const { deviceId, scopes } = key
    return ok({ secret: made.secret, deviceId, keyId: key.id, scopes: parseScopes(scopes) })
  }
  const isTooOften = (counted[0]?.recent ?? 0) > MINTED_MAX_PER_HOUR
  return err(isTooOften ? 'slow_down' : 'invalid_grant')
}

async function findClaimedKey({ database }: PollContext, keyId: string) {
  const [key] = await openDatabase(database).select().from(apiKeys).where(eq(apiKeys.id, keyId))
  return key
}

function isRepeatable(claim: ApprovedClaim, keyId: string, now: number) {
  const redeemed = and(
    eq(deviceClaims.id, claim.id),
    eq(deviceClaims.keyId, keyId),
    gt(deviceClaims.expiresAt, now - APPROVAL_GRACE_SECONDS * SECOND_MS),
  )
  const usable = and(
    eq(apiKeys.id, keyId),
    isNull(apiKeys.revokedAt),
    or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, now)),
  )
  const isNotOurs = or(
    isNotNull(keySecrets.firstUsedAt),
    isNull(keySecrets.mintedWith),
    ne(keySecrets.mintedWith, claim.id),
  )
  return and(
    sql`exists (select 1 from ${deviceClaims} where ${redeemed})`,
    sql`exists (select 1 from ${apiKeys}
      join ${devices} on ${devices.id} = ${apiKeys.deviceId}
      join ${users} on ${users.id} = ${devices.userId}
      where ${and(usable, eq(users.id, claim.approvedBy), isNull(users.disabledAt))})`,
    sql`not exists (select 1 from ${keySecrets}
      where ${and(eq(keySecrets.keyId, keyId), isNotOurs)})`,
  )
}

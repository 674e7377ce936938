import { and, eq, gt, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import { hashDeviceCode } from '../../crypto/claim-codes.ts'
import { newId } from '../../crypto/ids.ts'
import { openDatabase } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { deviceClaims, devices, users } from '../../db/schema.ts'
import {
  APPROVAL_GRACE_SECONDS,
  type ClaimClient,
  decidePoll,
  type PollRefusal,
} from '../../domain/claim-poll.ts'
import { withSuffix } from '../../domain/names.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import { insertDevice, madeAt } from '../devices/create-device.ts'
import { ownDevice } from '../devices/find-devices.ts'
import { auditFieldsOf, insertKey, prepareKey } from '../keys/create-key.ts'
import { type KeyInput, limitsOf, parseScopes } from '../keys/key-row.ts'
import { answerPoll } from './answer-poll.ts'
import { hasRoomForClaim } from './claim-room.ts'
import {
  type ApprovedClaim,
  type ClaimRow,
  type PollContext,
  type RedeemedClaim,
  redeemAgain,
} from './redeem-again.ts'

/** Names that are tried before a taken one becomes a failure. */
const NAMES_MAX = 4

/**
 * A device's poll (RFC 8628 §3.4): its secret, or why there is none. A made-up device code and a
 * poll that comes too early are refused without I/O. Of any number of polls at once, at most one
 * makes a key; while its secret was never used, a later poll gets another in its place.
 */
export async function redeemClaim(
  ctx: PollContext,
  input: ClaimClient & { readonly deviceCode: string },
): Promise<Result<RedeemedClaim, PollRefusal>> {
  const { deviceCode, ...client } = input
  const hash = await hashDeviceCode(deviceCode, ctx.settings.checkSecrets)
  if (hash === undefined) return err('invalid_grant')
  return await answerPoll(ctx, { hash, client }, async (claim) => await redeem(ctx, claim))
}

async function redeem(
  ctx: PollContext,
  claim: ClaimRow,
): Promise<Result<RedeemedClaim, PollRefusal>> {
  const decided = decidePoll(claim, ctx.now)
  if (!decided.ok) return decided
  const { approvedBy } = claim
  if (approvedBy === null) return err('invalid_grant')
  const approved = { ...claim, approvedBy }
  if (decided.value === 'again') return await redeemAgain(ctx, approved)
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await spend(ctx, approved, attempt > 1)
    } catch (thrown) {
      const isNameTaken = violatedUniqueColumn(thrown) === 'devices.user_id'
      if (!isNameTaken || attempt === NAMES_MAX) throw thrown
    }
  }
}

/**
 * Spends an approved claim. It misses if another poll was first, if the approval was withdrawn, or
 * if the approver or the named device has gone.
 */
async function spend(
  ctx: PollContext,
  claim: ApprovedClaim,
  isNameTaken: boolean,
): Promise<Result<RedeemedClaim, 'invalid_grant' | 'slow_down' | 'access_denied'>> {
  const { now } = ctx
  const { approvedBy: userId, targetDeviceId } = claim
  const deviceId = targetDeviceId ?? newId('dev')
  const made = await prepareKey(ctx, deviceId, keyInputOf(claim))
  const { key, secret } = made
  const wanted = claim.approvedName ?? claim.clientId
  const name = isNameTaken ? withSuffix(wanted, `-${deviceId.slice(-4)}`) : wanted
  const policy = auditFieldsOf(key)
  const after = targetDeviceId === null ? { name, metadata: {}, key: policy } : policy
  const change = openChange(
    { ...ctx, actor: { type: 'device', deviceId } },
    {
      action: targetDeviceId === null ? 'device.created' : 'key.created',
      userId,
      deviceId,
      keyId: key.id,
      after: { ...after, claim_id: claim.id },
    },
    and(isSpendable(claim, now), hasRoomForClaim(ctx, userId, targetDeviceId)),
  )
  const { happened } = await commit(change, {
    spent: change.update(
      deviceClaims,
      { redeemedAt: now, keyId: key.id },
      eq(deviceClaims.id, claim.id),
    ),
    ...(targetDeviceId === null
      ? {
          device: insertDevice(change, userId, {
            id: deviceId,
            name,
            metadata: {},
            ...madeAt(now),
          }),
        }
      : {}),
    ...insertKey(change, made, claim.id),
  })
  if (!happened) return err(await refusalOf(ctx, claim))
  return ok({ secret: secret.secret, deviceId, keyId: key.id, scopes: key.scopes })
}

/**
 * A poll at the same time may have been first: the next one learns whether its answer was lost. Or
 * the approval is worth nothing any more: it was withdrawn, the approver was disabled, or has as
 * many devices or keys as they may have.
 */
async function refusalOf(
  ctx: PollContext,
  approved: ApprovedClaim,
): Promise<'invalid_grant' | 'slow_down' | 'access_denied'> {
  const { approvedBy, targetDeviceId } = approved
  const hasRoom = hasRoomForClaim(ctx, approvedBy, targetDeviceId)
  const isDisabled = and(eq(users.id, approvedBy), isNotNull(users.disabledAt))
  const [claim] = await openDatabase(ctx.database)
    .select({
      redeemedAt: deviceClaims.redeemedAt,
      deniedAt: deviceClaims.deniedAt,
      isDisabled: sql<number>`exists (select 1 from ${users} where ${isDisabled})`,
      lacksRoom: sql<number>`${isSpendable(approved, ctx.now)} and not (${hasRoom})`,
    })
    .from(deviceClaims)
    .where(eq(deviceClaims.id, approved.id))
  if (claim === undefined) return 'invalid_grant'
  if (claim.redeemedAt !== null) return 'slow_down'
  const isWorthless = claim.deniedAt !== null || claim.isDisabled === 1 || claim.lacksRoom === 1
  return isWorthless ? 'access_denied' : 'invalid_grant'
}

function isSpendable({ id, approvedBy, targetDeviceId }: ApprovedClaim, now: number) {
  const unspent = and(
    eq(deviceClaims.id, id),
    isNotNull(deviceClaims.approvedBy),
    isNull(deviceClaims.redeemedAt),
    isNull(deviceClaims.deniedAt),
    gt(deviceClaims.expiresAt, now - APPROVAL_GRACE_SECONDS * SECOND_MS),
  )
  return and(
    sql`exists (select 1 from ${deviceClaims} where ${unspent})`,
    sql`exists (select 1 from ${users}
      where ${users.id} = ${approvedBy} and ${users.disabledAt} is null)`,
    targetDeviceId === null ? undefined : isOwnDevice(approvedBy, targetDeviceId),
  )
}

function isOwnDevice(userId: string, deviceId: string): SQL {
  return sql`exists (select 1 from ${devices} where ${ownDevice({ userId, deviceId })})`
}

function keyInputOf(claim: ClaimRow): KeyInput {
  return {
    name: claim.keyName ?? undefined,
    scopes: parseScopes(claim.approvedScopes ?? '[]'),
    expiresAt: claim.keyExpiresAt,
    ...limitsOf(claim),
    selfRotation: claim.selfRotation,
  }
}

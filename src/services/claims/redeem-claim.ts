import { and, eq, gt, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import { hashDeviceCode } from '../../crypto/claim-codes.ts'
import { newId } from '../../crypto/ids.ts'
import { openDatabase, type Database } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { deviceClaims, devices, users } from '../../db/schema.ts'
import { type PollRefusal, refusalOfPoll, SLOW_DOWN_SECONDS } from '../../domain/claim-poll.ts'
import { withSuffix } from '../../domain/names.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { Settings } from '../../settings.ts'
import { type Change, recordAudit } from '../changes/record-audit.ts'
import { ownDevice } from '../devices/find-devices.ts'
import { limitsOf, parseScopes } from '../keys/key-row.ts'
import { type KeyInput, policyOf, prepareKey } from '../keys/create-key.ts'

/** Names that are tried before a taken one becomes a failure. */
const NAMES_MAX = 4

/** When and from where a device polls: who acts is the device that the poll makes. */
export type Poll = Omit<Change, 'actor'>

export type RedeemedClaim = {
  /** Known here and in the answer, and nowhere else. */
  readonly secret: string
  readonly deviceId: string
  readonly keyId: string
  readonly scopes: readonly string[]
}

type ClaimRow = typeof deviceClaims.$inferSelect
/** A claim that somebody approved. */
type ApprovedClaim = ClaimRow & { readonly approvedBy: string }

/**
 * A device's poll (RFC 8628 §3.4): its secret, once, or why there is none. A made-up device code is
 * refused without I/O. Of any number of polls at once, at most one makes a key.
 */
export async function redeemClaim(
  poll: Poll,
  presented: { readonly deviceCode: string; readonly clientId: string },
  settings: Settings,
): Promise<Result<RedeemedClaim, PollRefusal>> {
  const hash = await hashDeviceCode(presented.deviceCode, settings.checkSecrets)
  if (hash === undefined) return err('invalid_grant')
  const claim = await notePoll(openDatabase(poll.database), hash, presented.clientId, poll.now)
  if (claim === undefined) return err('invalid_grant')
  const refusal = refusalOfPoll(claim, poll.now)
  if (refusal !== undefined) return err(refusal)

  const { approvedBy } = claim
  if (approvedBy === null) return err('invalid_grant')
  const approved = { ...claim, approvedBy }
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await spend(poll, approved, settings, attempt > 1)
    } catch (thrown) {
      const isNameTaken = violatedUniqueColumn(thrown) === 'devices.user_id'
      if (!isNameTaken || attempt === NAMES_MAX) throw thrown
    }
  }
}

/**
 * Reads a claim and notes that it was polled, in one transaction: of two polls at once, one sees
 * the other's time. Who comes early waits longer from then on (RFC 8628 §3.5).
 */
async function notePoll(
  db: Database,
  hash: string,
  clientId: string,
  now: number,
): Promise<ClaimRow | undefined> {
  const { intervalSeconds, lastPolledAt } = deviceClaims
  const own = and(eq(deviceClaims.deviceCodeHash, hash), eq(deviceClaims.clientId, clientId))
  const isEarly = sql`${now} < ${lastPolledAt} + ${intervalSeconds} * 1000`
  const [[claim]] = await db.batch([
    db.select().from(deviceClaims).where(own),
    db
      .update(deviceClaims)
      .set({
        intervalSeconds: sql`${intervalSeconds} + iif(${isEarly}, ${SLOW_DOWN_SECONDS}, 0)`,
        lastPolledAt: now,
      })
      .where(and(own, isNull(deviceClaims.decidedAt), gt(deviceClaims.expiresAt, now))),
  ])
  return claim
}

/**
 * Spends an approved claim: one guarded UPDATE, whose new key id is the witness of all that makes
 * the device, the key and the secret. It misses if another poll was first, or if the approver or
 * the named device has gone.
 */
async function spend(
  poll: Poll,
  claim: ApprovedClaim,
  settings: Settings,
  isNameTaken: boolean,
): Promise<Result<RedeemedClaim, 'invalid_grant'>> {
  const { now } = poll
  const db = openDatabase(poll.database)
  const deviceId = claim.targetDeviceId ?? newId('dev')
  const owner = { userId: claim.approvedBy, deviceId }
  const isSpentOn = (keyId: string) =>
    sql`exists (select 1 from ${deviceClaims} where ${spentOn(claim, keyId)})`
  const { key, secret, statements } = await prepareKey(
    db,
    now,
    owner,
    keyInputOf(claim),
    settings,
    isSpentOn,
  )
  const wanted = claim.approvedName ?? claim.clientId
  const name = isNameTaken ? withSuffix(wanted, `-${deviceId.slice(-4)}`) : wanted
  const isNew = claim.targetDeviceId === null
  const change = { ...poll, actor: { type: 'device', id: deviceId } } as const
  const entry = isNew
    ? ({ action: 'device.created', after: { name, metadata: {}, key: policyOf(key) } } as const)
    : ({ action: 'key.created', after: policyOf(key) } as const)
  const after = { ...entry.after, claim_id: claim.id }
  const [spent] = await db.batch([
    db
      .update(deviceClaims)
      .set({ redeemedAt: now, keyId: key.id })
      .where(isSpendable(claim, now))
      .returning({ id: deviceClaims.id }),
    db.insert(devices).select(
      sql`select ${deviceId}, ${users.id}, ${name}, '{}', ${now}, ${now}, null, null
          from ${users} join ${deviceClaims} on ${deviceClaims.approvedBy} = ${users.id}
          where ${and(spentOn(claim, key.id), isNull(deviceClaims.targetDeviceId))}`,
    ),
    ...statements,
    recordAudit(db, change, { ...entry, ...owner, keyId: key.id, after }, isSpentOn(key.id)),
  ])
  if (spent.length === 0) return err('invalid_grant')
  return ok({ secret, deviceId, keyId: key.id, scopes: key.scopes })
}

function spentOn(claim: ClaimRow, keyId: string): SQL | undefined {
  return and(eq(deviceClaims.id, claim.id), eq(deviceClaims.keyId, keyId))
}

function isSpendable({ id, approvedBy, targetDeviceId }: ApprovedClaim, now: number) {
  return and(
    eq(deviceClaims.id, id),
    isNotNull(deviceClaims.approvedBy),
    isNull(deviceClaims.redeemedAt),
    gt(deviceClaims.expiresAt, now),
    sql`exists (select 1 from ${users}
      where ${users.id} = ${approvedBy} and ${users.disabledAt} is null)`,
    targetDeviceId === null
      ? undefined
      : sql`exists (select 1 from ${devices} where ${ownDevice(approvedBy, targetDeviceId)})`,
  )
}

function keyInputOf(claim: ClaimRow): KeyInput {
  return {
    name: claim.keyName ?? undefined,
    scopes: parseScopes(claim.approvedScopes ?? '[]'),
    expiresAt: claim.keyExpiresAt,
    ...limitsOf(claim),
  }
}

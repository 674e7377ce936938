import { and, type SQL, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deviceClaims, devices } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { narrowsScopes } from '../../domain/scopes.ts'
import type { Settings } from '../../settings.ts'
import { type AuditAction, recordAudit, type Change } from '../changes/record-audit.ts'
import { type Claim, findClaim, isWaiting } from './request-claim.ts'
import { ownDevice } from '../devices/find-devices.ts'
import { limitColumns } from '../keys/key-row.ts'
import { type KeyInput, limitFields } from '../keys/create-key.ts'

/** A user's answer. What is left out is as the device asked for it. */
export type ClaimDecision =
  | { readonly decision: 'deny' }
  | {
      readonly decision: 'approve'
      readonly name?: string | undefined
      readonly scopes?: readonly string[] | undefined
      /** The key's policy; its scopes are above. */
      readonly key: Omit<KeyInput, 'scopes'>
      /** A device of the user's that gets the key, instead of a new one. */
      readonly deviceId?: string | undefined
    }

/** What became of a claim. */
export type DecidedClaim = Claim & {
  readonly decision: ClaimDecision['decision']
  /** What the new device will be called; null where there is none. */
  readonly grantedName: string | null
  readonly grantedScopes: readonly string[]
  readonly deviceId: string | null
}

type Refusal = 'not_found' | 'device_not_found' | 'scopes_widened'

/**
 * Approves or denies what a device asked for; the first decision stands. It makes no key: that is
 * for the poll that is handed the secret.
 */
export async function decideClaim(
  change: Change,
  userId: string,
  typedCode: string,
  decision: ClaimDecision,
  settings: Settings,
): Promise<Result<DecidedClaim, Refusal>> {
  const claim = await findClaim(change.database, typedCode, settings, change.now)
  const waiting = await isWaiting(typedCode, settings, change.now)
  if (claim === undefined || waiting === undefined) return err('not_found')
  if (decision.decision === 'deny') return await deny(change, userId, claim, waiting)

  const scopes = decision.scopes ?? claim.scopes
  if (claim.scopes.length > 0 && !narrowsScopes(claim.scopes, scopes)) return err('scopes_widened')
  return await approve(change, userId, claim, waiting, { ...decision, scopes })
}

async function deny(
  change: Change,
  userId: string,
  claim: Claim,
  waiting: SQL,
): Promise<Result<DecidedClaim, Refusal>> {
  const { now } = change
  const entry = { action: 'claim.denied', after: { ...requestOf(claim) } } as const
  const happened = await decide(change, userId, waiting, entry, { decidedAt: now, deniedAt: now })
  const nothing = { grantedName: null, grantedScopes: [], deviceId: null }
  return happened ? ok({ ...claim, decision: 'deny', ...nothing }) : err('not_found')
}

async function approve(
  change: Change,
  userId: string,
  claim: Claim,
  waiting: SQL,
  decision: Extract<ClaimDecision, { decision: 'approve' }> & {
    readonly scopes: readonly string[]
  },
): Promise<Result<DecidedClaim, Refusal>> {
  const { scopes, key, deviceId = null } = decision
  const name = deviceId === null ? (decision.name ?? claim.deviceName ?? claim.clientId) : null
  const ownTarget =
    deviceId === null
      ? sql`true`
      : sql`exists (select 1 from ${devices} where ${ownDevice(userId, deviceId)})`
  const entry = {
    action: 'claim.approved',
    ...(deviceId === null ? {} : { deviceId }),
    after: {
      ...requestOf(claim),
      name,
      scopes,
      key: { name: key.name, expires_at: key.expiresAt, ...limitFields(key) },
    },
  } as const
  const fields = {
    decidedAt: change.now,
    approvedBy: userId,
    approvedScopes: JSON.stringify(scopes),
    approvedName: name,
    targetDeviceId: deviceId,
    keyName: key.name ?? null,
    keyExpiresAt: key.expiresAt ?? null,
    ...limitColumns(key),
  }
  const happened = await decide(change, userId, sql`${waiting} and ${ownTarget}`, entry, fields)
  if (happened) {
    return ok({ ...claim, decision: 'approve', grantedName: name, grantedScopes: scopes, deviceId })
  }
  // Which of the two was missing: for the answer only, nothing is decided here.
  const [left] = await openDatabase(change.database)
    .select({ id: deviceClaims.id })
    .from(deviceClaims)
    .where(waiting)
  return err(left === undefined ? 'not_found' : 'device_not_found')
}

/** One guarded UPDATE with its audit row: of two decisions at once, one finds nothing waiting. */
async function decide(
  change: Change,
  userId: string,
  waiting: SQL,
  entry: {
    readonly action: AuditAction
    readonly deviceId?: string
    readonly after: Record<string, unknown>
  },
  fields: Partial<typeof deviceClaims.$inferInsert>,
): Promise<boolean> {
  const db = openDatabase(change.database)
  const happens = sql`exists (select 1 from ${deviceClaims} where ${waiting})`
  const [, decided] = await db.batch([
    recordAudit(db, change, { ...entry, userId }, happens),
    db.update(deviceClaims).set(fields).where(and(waiting)).returning({ id: deviceClaims.id }),
  ])
  return decided.length > 0
}

/** The claim in the words of the audit. */
function requestOf(claim: Claim): Record<string, unknown> {
  const { id, clientId, ip, country } = claim
  return { claim_id: id, client_id: clientId, requested_from: { ip, country } }
}

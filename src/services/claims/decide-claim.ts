import { and, sql } from 'drizzle-orm'
import { deviceClaims, devices } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { narrowsScopes } from '../../domain/scopes.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { ownDevice } from '../devices/find-devices.ts'
import { type KeyInput, limitColumns, limitFields } from '../keys/key-row.ts'
import { type Claim, findClaim, isWaiting } from './find-claim.ts'

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

/** A claim after its decision. */
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
  ctx: AuditContext,
  input: {
    readonly userId: string
    readonly typedCode: string
    readonly decision: ClaimDecision
  },
): Promise<Result<DecidedClaim, Refusal>> {
  const { userId, typedCode, decision } = input
  const found = await findClaim(ctx, typedCode)
  if (!found.ok) return found
  const claim = found.value
  if (decision.decision === 'deny') return await deny(ctx, userId, claim)

  const scopes = decision.scopes ?? claim.scopes
  if (claim.scopes.length > 0 && !narrowsScopes(claim.scopes, scopes)) return err('scopes_widened')
  return await approve(ctx, userId, claim, { ...decision, scopes })
}

async function deny(
  ctx: AuditContext,
  userId: string,
  claim: Claim,
): Promise<Result<DecidedClaim, Refusal>> {
  const { now } = ctx
  const waiting = isWaiting(claim, now)
  const change = openChange(
    ctx,
    { action: 'claim.denied', userId, after: auditFieldsOf(claim) },
    sql`exists (select 1 from ${deviceClaims} where ${waiting})`,
  )
  const { happened } = await commit(change, {
    decided: change.update(deviceClaims, { decidedAt: now, deniedAt: now }, waiting),
  })
  const nothing = { grantedName: null, grantedScopes: [], deviceId: null }
  return happened ? ok({ ...claim, decision: 'deny', ...nothing }) : err('not_found')
}

async function approve(
  ctx: AuditContext,
  userId: string,
  claim: Claim,
  decision: Extract<ClaimDecision, { decision: 'approve' }> & {
    readonly scopes: readonly string[]
  },
): Promise<Result<DecidedClaim, Refusal>> {
  const { scopes, key, deviceId = null } = decision
  const name = deviceId === null ? (decision.name ?? claim.deviceName ?? claim.clientId) : null
  const waiting = isWaiting(claim, ctx.now)
  const hasTarget =
    deviceId === null
      ? undefined
      : sql`exists (select 1 from ${devices} where ${ownDevice({ userId, deviceId })})`
  const policy = { name: key.name, expires_at: key.expiresAt, ...limitFields(key) }
  const change = openChange(
    ctx,
    {
      action: 'claim.approved',
      userId,
      ...(deviceId === null ? {} : { deviceId }),
      after: { ...auditFieldsOf(claim), name, scopes, key: policy },
    },
    and(sql`exists (select 1 from ${deviceClaims} where ${waiting})`, hasTarget),
  )
  const fields = {
    decidedAt: ctx.now,
    approvedBy: userId,
    approvedScopes: JSON.stringify(scopes),
    approvedName: name,
    targetDeviceId: deviceId,
    ...keyColumns(key),
  }
  const { happened, waits } = await commit(change, {
    // Which of the two is missing if it does not happen: for the answer only.
    waits: change.db.select({ id: deviceClaims.id }).from(deviceClaims).where(waiting),
    decided: change.update(deviceClaims, fields, waiting),
  })
  if (!happened) return err(waits.length === 0 ? 'not_found' : 'device_not_found')
  const made = { grantedName: name, grantedScopes: scopes, deviceId }
  return ok({ ...claim, decision: 'approve', ...made })
}

/** The columns of a claim that hold the policy of its key. */
function keyColumns(key: Omit<KeyInput, 'scopes'>) {
  return {
    keyName: key.name ?? null,
    keyExpiresAt: key.expiresAt ?? null,
    ...limitColumns(key),
  }
}

/** The claim in the words of the audit. */
function auditFieldsOf({ id, clientId, ip, country }: Claim): Record<string, unknown> {
  return { claim_id: id, client_id: clientId, requested_from: { ip, country } }
}

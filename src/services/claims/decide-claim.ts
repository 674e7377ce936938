import { and, sql } from 'drizzle-orm'
import { deviceClaims, devices } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { isReservedScope, narrowsScopes } from '../../domain/scopes.ts'
import { commit } from '../changes/commit.ts'
import { rememberOnce, type Reused, unlessDone } from '../changes/idempotency.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { ownDevice } from '../devices/find-devices.ts'
import { type KeyInput, limitColumns, limitFields } from '../keys/key-row.ts'
import { hasRoomForClaim } from './claim-room.ts'
import { decidedAgain, decidedBefore, type DecidedClaim, handedOutOf } from './decided-again.ts'
import { type Claim, claimAuditFields, findClaim, isWaiting } from './find-claim.ts'

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

type Refusal = 'not_found' | 'device_not_found' | 'scopes_widened' | 'cap_reached' | Reused

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
  if (!found.ok) return (await decidedBefore(ctx)) ?? found
  const claim = found.value
  if (decision.decision === 'deny') return await deny(ctx, userId, claim)

  const scopes = decision.scopes ?? claim.scopes
  const { reservedScopes } = ctx.settings
  // Asked for before it was reserved: whoever gives it has to write it, and to be an admin.
  const isImplied = decision.scopes === undefined
  if (isImplied && scopes.some((scope) => isReservedScope(scope, reservedScopes))) {
    return err('scopes_widened')
  }
  const isWider = !narrowsScopes(claim.scopes, scopes, reservedScopes)
  if (claim.scopes.length > 0 && isWider) return err('scopes_widened')
  return await approve(ctx, userId, claim, { ...decision, scopes })
}

async function deny(
  ctx: AuditContext,
  userId: string,
  claim: Claim,
): Promise<Result<DecidedClaim, Refusal>> {
  const { now } = ctx
  const waiting = isWaiting(claim, now)
  const nothing = { grantedName: null, grantedScopes: [], deviceId: null }
  const denied = { ...claim, decision: 'deny', ...nothing, isReplay: false } as const
  const change = openChange(
    ctx,
    { action: 'claim.denied', userId, after: claimAuditFields(claim) },
    sql`exists (select 1 from ${deviceClaims} where ${waiting})`,
    await rememberOnce(ctx, handedOutOf(denied)),
  )
  const decided = change.update(deviceClaims, { decidedAt: now, deniedAt: now }, waiting)
  const outcome = await unlessDone(ctx, async () => await commit(change, { decided }))
  if ('repeated' in outcome) return decidedAgain(outcome.repeated)
  return outcome.made.happened ? ok(denied) : err('not_found')
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
  const granted = { grantedName: name, grantedScopes: scopes, deviceId }
  const approved = { ...claim, decision: 'approve', ...granted, isReplay: false } as const
  const waiting = isWaiting(claim, ctx.now)
  const target = deviceId === null ? undefined : ownDevice({ userId, deviceId })
  const isThere = sql`exists (select 1 from ${deviceClaims} where ${waiting})`
  const hasTarget = target && sql`exists (select 1 from ${devices} where ${target})`
  const change = openChange(
    ctx,
    {
      action: 'claim.approved',
      userId,
      ...(deviceId === null ? {} : { deviceId }),
      after: { ...claimAuditFields(claim), name, scopes, key: policyOf(key) },
    },
    and(isThere, hasTarget, hasRoomForClaim(ctx, userId, deviceId)),
    await rememberOnce(ctx, handedOutOf(approved)),
  )
  const approvedSessionId = ctx.actor.type === 'user' ? ctx.actor.sessionId : null
  const given = { approvedBy: userId, approvedName: name, targetDeviceId: deviceId }
  const fields = { decidedAt: ctx.now, approvedSessionId, ...given, ...keyColumns(scopes, key) }
  const outcome = await unlessDone(
    ctx,
    async () =>
      await commit(change, {
        // What is missing if it does not happen: for the answer only.
        waits: change.db
          .select({ hasTarget: sql<number>`${hasTarget ?? true}` })
          .from(deviceClaims)
          .where(waiting),
        decided: change.update(deviceClaims, fields, waiting),
      }),
  )
  if ('repeated' in outcome) return decidedAgain(outcome.repeated)
  const { happened, waits } = outcome.made
  if (happened) return ok(approved)
  const [claimed] = waits
  if (claimed === undefined) return err('not_found')
  return err(claimed.hasTarget ? 'cap_reached' : 'device_not_found')
}

/** The policy of a claim's key in the words of the audit. */
function policyOf(key: Omit<KeyInput, 'scopes'>) {
  const { name, expiresAt, selfRotation } = key
  return { name, expires_at: expiresAt, ...limitFields(key), self_rotation: selfRotation }
}

/** The columns of a claim that hold the policy of its key. */
function keyColumns(scopes: readonly string[], key: Omit<KeyInput, 'scopes'>) {
  return {
    approvedScopes: JSON.stringify(scopes),
    keyName: key.name ?? null,
    keyExpiresAt: key.expiresAt ?? null,
    ...limitColumns(key),
    selfRotation: key.selfRotation ?? false,
  }
}

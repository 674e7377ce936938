import { sha256 } from '../../crypto/digest.ts'
import type { DeviceTokenClaims } from '../../domain/device-token.ts'
import {
  type Denial,
  evaluateKey,
  type KeyPolicySnapshot,
  type KeySnapshot,
} from '../../domain/evaluate-key.ts'
import { isLimited, type MeterDecision } from '../../domain/meter.ts'
import type { VerifyContext } from '../context.ts'
import { admitSecret } from './admit-secret.ts'
import { chargeKey } from './charge-key.ts'
import { countVerify } from './count-usage.ts'
import { type EvaluatedToken, evaluateToken } from './evaluate-token.ts'
import { findSnapshot } from './find-snapshot.ts'
import { noteFirstUse } from './record-first-use.ts'
import { noteRetiredUse } from './record-retired-use.ts'
import { type Caller, chargeUnknownSecret, isCallerBlocked } from './throttle-unknown.ts'

export type VerifyRequest = {
  readonly presented: string
  /** All of them must be covered. Literal scopes. */
  readonly scopes?: readonly string[]
  /** Whether the credential must be a verifier's: one that may ask about others. */
  readonly asVerifier?: boolean
  /** What a limited key is charged; 0 asks without spending. 1 unless said. */
  readonly cost?: number
  /** Whether it counts as a use by its holder. Unless said, a question (cost 0) does not. */
  readonly isUse?: boolean
  /** Skip the cache: the answer is D1's, or there is none. */
  readonly fresh?: boolean
  /** The audience that a device token must name, or `any`; PUBLIC_URL unless said. */
  readonly audience?: string | undefined
  /** The user whose keys exist for the asker, or `any`: everybody's do. */
  readonly owner: string
  /** Who presents it; undefined: a trusted caller, whom no limit on unknown secrets concerns. */
  readonly caller?: Caller | undefined
}

/** The decision on a presented string. */
export type Verification = Verified | Denied | Throttled

export type Verified = {
  readonly valid: true
  readonly ownerId: string
  readonly policy: KeyPolicySnapshot
  /** What was presented: a secret, or a token that was issued for one. */
  readonly credential: Credential
  /** How the key's limits stand; null: it has none, or they could not be asked. */
  readonly meter: MeterDecision | null
  /** False: its limits could not be asked, and LIMITER_FAILURE let it through. */
  readonly isMetered: boolean
}

export type Denied = {
  readonly valid: false
  readonly kind: 'denied'
  readonly denial: Denial
  /** Whose it is; null if it was made up, or is nobody's for the asker. */
  readonly ownerId: string | null
  /** Null also when only a tombstone is left. */
  readonly policy: KeyPolicySnapshot | null
  readonly meter: MeterDecision | null
}

/** Nobody looked: the caller has presented too many strings that nobody knows. */
export type Throttled = { readonly valid: false; readonly kind: 'throttled' }

export type Credential =
  | { readonly kind: 'secret'; readonly hash: string; readonly snapshot: KeySnapshot }
  | { readonly kind: 'token'; readonly hash: string; readonly claims: DeviceTokenClaims }

const MADE_UP: Denied = {
  valid: false,
  kind: 'denied',
  denial: 'not_found',
  ownerId: null,
  policy: null,
  meter: null,
}
const THROTTLED: Throttled = { valid: false, kind: 'throttled' }

/**
 * Decides whether a presented secret or device token is good now: the one place that does, behind
 * every door. Made-up: no I/O. Warm: none either, but one call to the device's object if the key is
 * limited. Cold: one read. Never a D1 write before the answer.
 * @throws Unavailable when nothing can be decided: D1 or the object does not answer
 * @example
 *     const verified = await verifyKey(ctx, { presented, owner: 'any', scopes: ['a:write'] })
 *     if (verified.valid) console.info(verified.policy.device.id)
 */
export async function verifyKey(ctx: VerifyContext, request: VerifyRequest): Promise<Verification> {
  const token = await evaluateToken(ctx, request)
  return token === undefined
    ? await verifySecret(ctx, request)
    : await verifyToken(ctx, request, token)
}

async function verifySecret(ctx: VerifyContext, request: VerifyRequest): Promise<Verification> {
  const { settings, now, isolate } = ctx
  const { presented, caller, fresh = false } = request
  const admission = await admitSecret(presented, settings)
  if (admission === 'refused') return MADE_UP
  const isUnchecked = admission !== 'checked'
  const hash = await sha256(presented)

  if (isUnchecked && caller !== undefined && isolate.keys.get(hash)?.snapshot === undefined) {
    if (isCallerBlocked(ctx, caller)) return THROTTLED
  }
  const snapshot = await findSnapshot(ctx, hash, fresh)
  // After a change of KEY_PREFIX, our own old secrets look foreign. Only rows that are marked as
  // imported may be used that way.
  if (snapshot === undefined || (admission === 'foreign' && !snapshot.secret.isImported)) {
    if (isUnchecked && caller !== undefined) await chargeUnknownSecret(ctx, caller)
    return MADE_UP
  }
  const { ownerId, policy } = snapshot
  if (!isAskedAbout(request, ownerId)) return MADE_UP
  const evaluated = evaluateKey(snapshot, request, now, settings.reservedScopes)
  if (!evaluated.ok) {
    const denial = evaluated.reason
    if (policy !== null) {
      if (isUse(request)) countVerify(ctx, policy, hash, denial)
      if (request.isUse !== false) noteRetiredUse(ctx, { hash, snapshot, policy, caller })
    }
    return denied(denial, ownerId, policy)
  }
  const credential = { kind: 'secret', hash, snapshot } as const
  const verified = await chargeLimits(ctx, request, evaluated.value, credential)
  if (verified.valid && isUse(request)) {
    const country = caller?.country ?? null
    noteFirstUse(ctx, { hash, snapshot, policy: verified.policy, country })
  }
  return verified
}

async function verifyToken(
  ctx: VerifyContext,
  request: VerifyRequest,
  { claims, policy, denial }: EvaluatedToken,
): Promise<Verification> {
  const { ownerId, secretHash } = claims
  if (!isAskedAbout(request, ownerId)) return MADE_UP
  if (denial !== null) {
    // Of an ended token only the token itself says whose it is, and the device may be gone: its
    // emptied object must not come back to life.
    const hasEnded = denial === 'expired' || denial === 'revoked'
    if (policy !== null && !hasEnded && isUse(request)) {
      countVerify(ctx, policy, secretHash, denial)
    }
    return denied(denial, ownerId, policy)
  }
  return await chargeLimits(ctx, request, policy, { kind: 'token', hash: secretHash, claims })
}

/** The decision on a good credential whose limits are still to be asked, if it has any. */
async function chargeLimits(
  ctx: VerifyContext,
  request: VerifyRequest,
  policy: KeyPolicySnapshot,
  credential: Credential,
): Promise<Verification> {
  const { hash } = credential
  const { cost = 1 } = request
  const counts = isUse(request)
  const ownerId = policy.owner.id
  const good = { valid: true, ownerId, policy, credential, meter: null, isMetered: true } as const
  if (!isLimited(policy.key.limits)) {
    if (counts) countVerify(ctx, policy, hash, 'allowed')
    return good
  }
  const charged = await chargeKey(ctx, { policy, secretHash: hash, cost, counts })
  if (charged.kind === 'unmetered') {
    if (counts) countVerify(ctx, policy, hash, 'allowed')
    return { ...good, isMetered: false }
  }
  const { decision: meter } = charged
  if (meter.refusedBy === null) return { ...good, meter }
  // The object itself counted what it was asked.
  if (charged.kind === 'refused-here' && counts) countVerify(ctx, policy, hash, meter.refusedBy)
  return { ...denied(meter.refusedBy, ownerId, policy), meter }
}

function isAskedAbout({ owner }: VerifyRequest, ownerId: string): boolean {
  return owner === 'any' || owner === ownerId
}

function isUse({ cost = 1, isUse = cost > 0 }: VerifyRequest): boolean {
  return isUse
}

function denied(denial: Denial, ownerId: string, policy: KeyPolicySnapshot | null): Denied {
  return { valid: false, kind: 'denied', denial, ownerId, policy, meter: null }
}

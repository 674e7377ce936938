import { waitUntil } from 'cloudflare:workers'
import { sha256 } from '../../crypto/digest.ts'
import { isCheckGenuine } from '../../crypto/key-check.ts'
import {
  type Denial,
  evaluateKey,
  isRetiredSecret,
  type KeyPolicySnapshot,
  type KeySnapshot,
} from '../../domain/evaluate-key.ts'
import type { DeviceTokenClaims } from '../../domain/device-token.ts'
import { parsePresentedSecret } from '../../domain/key-format.ts'
import type { MeterDecision } from '../../domain/meter.ts'
import { verifierReach } from '../../domain/scopes.ts'
import type { Outcome } from '../../domain/usage-count.ts'
import { type IsolateState, isolateState } from '../../isolate/state.ts'
import type { Settings } from '../../settings.ts'
import { chargeKey, isLimited } from './charge-key.ts'
import type { DeviceStates } from '../device-object.ts'
import { findSnapshot } from './find-snapshot.ts'
import { recordRetiredUse } from './record-retired-use.ts'
import { type Caller, chargeUnknownSecret, isCallerBlocked } from './throttle-unknown.ts'
import { countUsage } from './count-usage.ts'
import { type EvaluatedToken, evaluateToken } from './evaluate-token.ts'

/** Where a verify looks. The isolate's own state, unless a test brings another isolate's. */
export type VerifyWorld = {
  readonly database: D1Database
  readonly states: DeviceStates
  readonly settings: Settings
  /** Milliseconds. */
  readonly now: number
  readonly isolate?: IsolateState
}

export type VerifyRequest = {
  readonly presented: string
  /** All of them must be covered. Literal scopes. */
  readonly scopes?: readonly string[]
  /** Whether the credential must be a verifier's: one that may ask about others. */
  readonly asVerifier?: boolean
  /** What a limited key is charged; 0 asks without spending. 1 unless said. */
  readonly cost?: number
  /** Skip the cache: the answer is D1's, or there is none. */
  readonly fresh?: boolean
  /** The only audience of a device token that counts; undefined: any of this deployment's. */
  readonly audience?: string | undefined
  /** Only this owner's keys exist for the asker; undefined: everyone's do. */
  readonly ownerId?: string | undefined
  /** Who presents it; undefined: a trusted caller, whom no limit on unknown secrets concerns. */
  readonly caller?: Caller | undefined
}

/** The decision; if it is a "no" to something genuine, whose it is. */
export type Verification =
  | {
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
  | {
      readonly valid: false
      readonly denial: Denial
      readonly ownerId: string | null
      /** Null also when only a tombstone is left. */
      readonly policy: KeyPolicySnapshot | null
      readonly meter: MeterDecision | null
    }

export type Credential =
  | { readonly kind: 'secret'; readonly hash: string; readonly snapshot: KeySnapshot }
  | { readonly kind: 'token'; readonly hash: string; readonly claims: DeviceTokenClaims }

const MADE_UP = {
  valid: false,
  denial: 'not_found',
  ownerId: null,
  policy: null,
  meter: null,
} as const
const TOO_MANY_UNKNOWN = { ...MADE_UP, denial: 'rate_limited' } as const

/**
 * Decides whether a presented secret or device token is good now: the one place that does, behind every door.
 * Made-up: no I/O. Warm: none either, but one call to the device's object if the key is limited.
 * Cold: one read. Never a D1 write before the answer.
 * @throws Unavailable when nothing can be decided: D1 or the object does not answer
 */
export async function verifyKey(world: VerifyWorld, request: VerifyRequest): Promise<Verification> {
  const { isolate = isolateState } = world
  const inIsolate = { ...world, isolate }
  const { presented, scopes = [], fresh = false, audience } = request
  const token = await evaluateToken(inIsolate, { presented, scopes, fresh, audience })
  return token === undefined
    ? await verifySecret(inIsolate, request)
    : await verifyToken(inIsolate, request, token)
}

type DecidingWorld = VerifyWorld & { readonly isolate: IsolateState }

async function verifySecret(world: DecidingWorld, request: VerifyRequest): Promise<Verification> {
  const { database, settings, now, isolate } = world
  const { presented, caller } = request
  const admission = await admit(presented, settings)
  if (admission === 'refused') return MADE_UP
  const isUnchecked = admission !== 'checked'
  const hash = await sha256(presented)

  if (isUnchecked && caller !== undefined && isolate.cache.get(hash) === undefined) {
    if (isCallerBlocked(caller, now)) return TOO_MANY_UNKNOWN
  }
  const source = { database, settings, now, cache: isolate.cache }
  const snapshot = await findSnapshot(source, hash, request.fresh ?? false)
  // A secret of ours, under a prefix that is no longer ours, is no imported one.
  if (snapshot === undefined || (admission === 'foreign' && !snapshot.secret.isImported)) {
    if (isUnchecked && caller !== undefined) await chargeUnknownSecret(caller, now)
    return MADE_UP
  }
  const { ownerId, policy } = snapshot
  if (request.ownerId !== undefined && request.ownerId !== ownerId) return MADE_UP
  const evaluated = evaluateKey(snapshot, request.scopes ?? [], now)
  if (!evaluated.ok) {
    const denial = evaluated.reason
    if (policy !== null) {
      count(world, policy, hash, denial)
      noteRetiredUse(world, request, snapshot, policy, hash)
    }
    return { valid: false, denial, ownerId, policy, meter: null }
  }
  return await chargeLimits(world, request, evaluated.value, { kind: 'secret', hash, snapshot })
}

async function verifyToken(
  world: DecidingWorld,
  request: VerifyRequest,
  { claims, policy, denial }: EvaluatedToken,
): Promise<Verification> {
  const { ownerId } = claims
  if (request.ownerId !== undefined && request.ownerId !== ownerId) return MADE_UP
  if (denial !== null) {
    if (policy !== null) count(world, policy, claims.secretHash, denial)
    return { valid: false, denial, ownerId, policy, meter: null }
  }
  const credential = { kind: 'token', hash: claims.secretHash, claims } as const
  return await chargeLimits(world, request, policy, credential)
}

/** The decision on a good credential whose limits are still to be asked, if it has any. */
async function chargeLimits(
  world: DecidingWorld,
  request: VerifyRequest,
  policy: KeyPolicySnapshot,
  credential: Credential,
): Promise<Verification> {
  const { states, settings, now, isolate } = world
  const { hash } = credential
  const ownerId = policy.owner.id
  const { key, owner } = policy
  if (request.asVerifier === true && verifierReach(key.scopes, owner.role) === undefined) {
    count(world, policy, hash, 'insufficient_scope')
    return { valid: false, denial: 'insufficient_scope', ownerId, policy, meter: null }
  }
  const good = { valid: true, ownerId, policy, credential, meter: null, isMetered: true } as const
  if (!isLimited(policy.key.limits)) {
    count(world, policy, hash, 'allowed')
    return good
  }
  const limiter = { states, settings, now, refusals: isolate.refusals }
  const charged = await chargeKey(limiter, policy, hash, request.cost ?? 1)
  if (charged.kind === 'unmetered') {
    count(world, policy, hash, 'allowed')
    return { ...good, isMetered: false }
  }
  const { decision: meter } = charged
  if (meter.refusedBy === null) return { ...good, meter }
  // The object counted what it was asked.
  if (charged.kind === 'refused-here') count(world, policy, hash, meter.refusedBy)
  return { valid: false, denial: meter.refusedBy, ownerId, policy, meter }
}

/** Counts a verify in the usage, if the deployment wants it. */
function count(
  { states, settings, now, isolate }: DecidingWorld,
  { key, device }: KeyPolicySnapshot,
  secretHash: string,
  outcome: Outcome,
): void {
  const { usage } = settings
  if (usage === 'off' || (usage === 'metered' && !isLimited(key.limits))) return
  countUsage(
    states,
    device.id,
    { keyId: key.id, secretHash, outcome, count: 1, at: now },
    now,
    isolate.usage,
  )
}

function noteRetiredUse(
  { database, now, isolate }: DecidingWorld,
  { caller }: VerifyRequest,
  snapshot: KeySnapshot,
  policy: KeyPolicySnapshot,
  hash: string,
): void {
  if (snapshot.secret.isRetiredUseNoted || !isRetiredSecret(snapshot, now)) return
  isolate.cache.noteRetiredUse(hash)
  // If it fails, the flag is still unset in D1, and the next use after a refresh tries again.
  waitUntil(recordRetiredUse(database, hash, policy, now, caller).catch(leaveToNextUse))
}

function leaveToNextUse(): void {}

/**
 * Whether a string may go on to be looked up: `checked` if it carries a genuine check, `unchecked`
 * if it has our shape but checks are off, `foreign` if it is of another system's making and those
 * are taken. A string with our prefix is never foreign.
 */
async function admit(
  presented: string,
  settings: Settings,
): Promise<'checked' | 'unchecked' | 'foreign' | 'refused'> {
  const parsed = parsePresentedSecret(presented, settings.keyPrefix)
  switch (parsed.kind) {
    case 'checked': {
      if (settings.keyCheck === 'off') return 'unchecked'
      const { unchecked, check } = parsed
      return (await isCheckGenuine(unchecked, check, settings.checkSecrets)) ? 'checked' : 'refused'
    }
    case 'foreign':
      return settings.acceptImportedKeys ? 'foreign' : 'refused'
    case 'malformed':
      return 'refused'
  }
}

import { waitUntil } from 'cloudflare:workers'
import { sha256 } from '../crypto/digest.ts'
import { isCheckGenuine } from '../crypto/key-check.ts'
import {
  type Denial,
  evaluateKey,
  isRetiredSecret,
  type KeyPolicySnapshot,
  type KeySnapshot,
} from '../domain/evaluate-key.ts'
import { parsePresentedSecret } from '../domain/key-format.ts'
import type { MeterDecision } from '../domain/meter.ts'
import type { Outcome } from '../domain/usage.ts'
import { type IsolateState, isolateState } from '../edge/isolate-state.ts'
import type { Settings } from '../settings.ts'
import { chargeKey, isLimited } from './charge.ts'
import type { DeviceStates } from './device-states.ts'
import { findSnapshot } from './find-snapshot.ts'
import { recordRetiredUse } from './retired-secret.ts'
import { type Caller, chargeUnknownSecret, isCallerBlocked } from './unknown-secrets.ts'
import { countUsage } from './usage.ts'

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
  /** What a limited key is charged; 0 asks without spending. 1 unless said. */
  readonly cost?: number
  /** Skip the cache: the answer is D1's, or there is none. */
  readonly fresh?: boolean
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

const MADE_UP = {
  valid: false,
  denial: 'not_found',
  ownerId: null,
  policy: null,
  meter: null,
} as const
const TOO_MANY_UNKNOWN = { ...MADE_UP, denial: 'rate_limited' } as const

/**
 * Decides whether a presented secret is good now: the one place that does, behind every door.
 * Made-up: no I/O. Warm: none either, but one call to the device's object if the key is limited.
 * Cold: one read. Never a D1 write before the answer.
 * @throws Unavailable when nothing can be decided: D1 or the object does not answer
 */
export async function verifyKey(world: VerifyWorld, request: VerifyRequest): Promise<Verification> {
  const { database, settings, now, isolate = isolateState } = world
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
  if (request.ownerId !== undefined && request.ownerId !== snapshot.ownerId) return MADE_UP
  return await decide({ ...world, isolate }, request, snapshot, hash)
}

type DecidingWorld = VerifyWorld & { readonly isolate: IsolateState }

/** The decision on a genuine secret: its policy first, then, if that says yes, its limits. */
async function decide(
  world: DecidingWorld,
  request: VerifyRequest,
  snapshot: KeySnapshot,
  hash: string,
): Promise<Verification> {
  const { now } = world
  const { ownerId, policy } = snapshot
  const evaluated = evaluateKey(snapshot, request.scopes ?? [], now)
  if (!evaluated.ok) {
    const denial = evaluated.reason
    if (policy !== null) {
      count(world, policy, hash, denial)
      noteRetiredUse(world, request, snapshot, policy, hash)
    }
    return { valid: false, denial, ownerId, policy, meter: null }
  }

  const good = { valid: true, ownerId, policy: evaluated.value, meter: null } as const
  if (!isLimited(good.policy.key.limits)) {
    count(world, good.policy, hash, 'allowed')
    return { ...good, isMetered: true }
  }
  const { states, settings, isolate } = world
  const limiter = { states, settings, now, refusals: isolate.refusals }
  const charged = await chargeKey(limiter, good.policy, hash, request.cost ?? 1)
  if (charged.kind === 'unmetered') {
    count(world, good.policy, hash, 'allowed')
    return { ...good, isMetered: false }
  }
  const { decision: meter } = charged
  if (meter.refusedBy === null) return { ...good, meter, isMetered: true }
  // The object counted what it was asked.
  if (charged.kind === 'refused-here') count(world, good.policy, hash, meter.refusedBy)
  return { ...good, valid: false, denial: meter.refusedBy, meter }
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
    { keyId: key.id, secretHash, outcome, count: 1 },
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

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
import { Unavailable } from '../domain/unavailable.ts'
import { type CachedKey, keyCache, type KeyCache } from '../edge/key-cache.ts'
import type { Settings } from '../settings.ts'
import { readKeySnapshot } from './key-snapshot.ts'
import { recordRetiredUse } from './retired-secret.ts'
import { type Caller, isCallerBlocked, chargeUnknownSecret } from './unknown-secrets.ts'

/** How long a failing D1 is left alone, key by key, while an older snapshot serves. */
const RETRY_AFTER_FAILURE_MS = 1000

/** Where a verify looks: the isolate's own cache, unless a test brings another isolate's. */
export type VerifyWorld = {
  readonly database: D1Database
  readonly settings: Settings
  /** Milliseconds. */
  readonly now: number
  readonly cache?: KeyCache
}

export type VerifyRequest = {
  readonly presented: string
  /** All of them must be covered. Literal scopes. */
  readonly scopes?: readonly string[]
  /** Skip the cache: the answer is D1's, or there is none. */
  readonly fresh?: boolean
  /** Who presents it; undefined: a trusted caller, whom no limit on unknown secrets concerns. */
  readonly caller?: Caller | undefined
}

/** The decision; if it is a "no" to something genuine, whose it is. */
export type Verification =
  | { readonly valid: true; readonly ownerId: string; readonly policy: KeyPolicySnapshot }
  | {
      readonly valid: false
      readonly denial: Denial
      readonly ownerId: string | null
      /** Null also when only a tombstone is left. */
      readonly policy: KeyPolicySnapshot | null
    }

const MADE_UP = { valid: false, denial: 'not_found', ownerId: null, policy: null } as const
const TOO_MANY_UNKNOWN = { ...MADE_UP, denial: 'rate_limited' } as const

/**
 * Decides whether a presented secret is good now: the one place that does, behind every door.
 * Made-up: no I/O. Warm: none either. Cold: one read. Never a write before the answer.
 * @throws Unavailable when D1 does not answer and no snapshot is young enough
 */
export async function verifyKey(world: VerifyWorld, request: VerifyRequest): Promise<Verification> {
  const { settings, now, cache = keyCache } = world
  const { presented, scopes = [], caller } = request
  const admission = await admit(presented, settings)
  if (admission === 'refused') return MADE_UP
  const hash = await sha256(presented)

  const isCheap = admission === 'checked' || cache.get(hash) !== undefined
  if (!isCheap && caller !== undefined && isCallerBlocked(caller, now)) return TOO_MANY_UNKNOWN
  const snapshot = await findSnapshot({ ...world, cache }, hash, request.fresh ?? false)
  if (snapshot === undefined) {
    if (admission === 'unchecked' && caller !== undefined) await chargeUnknownSecret(caller, now)
    return MADE_UP
  }

  const evaluated = evaluateKey(snapshot, scopes, now)
  const { ownerId, policy } = snapshot
  if (evaluated.ok) return { valid: true, ownerId, policy: evaluated.value }
  if (!snapshot.secret.isRetiredUseNoted && policy !== null && isRetiredSecret(snapshot, now)) {
    cache.noteRetiredUse(hash)
    waitUntil(recordRetiredUse(world.database, hash, policy, now, caller).catch(ignoreLoss))
  }
  return { valid: false, denial: evaluated.reason, ownerId, policy }
}

/**
 * Whether a string may go on to be looked up: `checked` if it carries a genuine check, `unchecked`
 * if the deployment takes strings that cannot be checked. A string with our prefix always can.
 */
async function admit(
  presented: string,
  settings: Settings,
): Promise<'checked' | 'unchecked' | 'refused'> {
  const parsed = parsePresentedSecret(presented, settings.keyPrefix)
  switch (parsed.kind) {
    case 'checked': {
      if (settings.keyCheck === 'off') return 'unchecked'
      const { unchecked, check } = parsed
      return (await isCheckGenuine(unchecked, check, settings.checkSecrets)) ? 'checked' : 'refused'
    }
    case 'foreign':
      return settings.acceptImportedKeys ? 'unchecked' : 'refused'
    case 'malformed':
      return 'refused'
  }
}

type CachedWorld = VerifyWorld & { readonly cache: KeyCache }

async function findSnapshot(
  world: CachedWorld,
  hash: string,
  fresh: boolean,
): Promise<KeySnapshot | undefined> {
  if (fresh) return await readThrough(world, hash)
  const { cache, now, settings } = world
  const entry = cache.get(hash)
  if (entry === undefined) return await readThrough(world, hash)

  const age = now - entry.readAt
  const isYoung = age < settings.keyCacheSeconds * 1000
  if (isYoung) {
    if (age >= settings.keyCacheSeconds * 500 && now >= entry.refreshUntil) {
      refreshAhead(world, hash)
    }
    return entry.snapshot
  }
  return await readOrServeStale(world, hash, entry)
}

/** A busy key is read again before it is too old, so that no request waits for D1. */
function refreshAhead(world: CachedWorld, hash: string): void {
  world.cache.noteRefresh(hash, world.now + world.settings.d1TimeoutMs)
  waitUntil(readThrough(world, hash).catch(ignoreLoss))
}

async function readOrServeStale(
  world: CachedWorld,
  hash: string,
  entry: CachedKey,
): Promise<KeySnapshot | undefined> {
  const { cache, now, settings } = world
  const maySpeak = now - entry.readAt < settings.keyStaleSeconds * 1000
  const isFailing =
    maySpeak && entry.failedAt !== null && now - entry.failedAt < RETRY_AFTER_FAILURE_MS
  if (isFailing) return entry.snapshot
  try {
    return await readThrough(world, hash)
  } catch (failure) {
    if (!(failure instanceof Unavailable) || !maySpeak) throw failure
    cache.noteFailure(hash, now)
    return entry.snapshot
  }
}

/** Asks D1, and keeps what it says. What it does not know is forgotten and never kept. */
async function readThrough(world: CachedWorld, hash: string): Promise<KeySnapshot | undefined> {
  const { cache, database, now, settings } = world
  const { epoch } = cache
  const snapshot = await readKeySnapshot(database, hash, settings.d1TimeoutMs)
  if (snapshot === undefined) cache.drop(hash)
  else cache.keep(hash, snapshot, now, epoch)
  return snapshot
}

/** Work after the response that failed: the next request finds it undone and does it again. */
function ignoreLoss(): void {}

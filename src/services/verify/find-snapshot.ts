import { waitUntil } from 'cloudflare:workers'
import type { KeySnapshot } from '../../domain/evaluate-key.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { CachedKey, KeyCache } from '../../isolate/key-cache.ts'
import type { Settings } from '../../settings.ts'
import { readKeySnapshot } from './select-snapshot.ts'
import { noteOutage } from '../../isolate/sampled-log.ts'

/** How long a failing D1 is left alone, key by key, while an older snapshot serves. */
const RETRY_AFTER_FAILURE_MS = 1000

export type SnapshotSource = {
  readonly database: D1Database
  readonly cache: KeyCache
  readonly settings: Settings
  /** Milliseconds. */
  readonly now: number
}

/**
 * What is known of a secret by its hash: from memory while that is young enough, else from D1.
 * @param fresh skip the memory: the answer is D1's, or there is none
 * @throws Unavailable when D1 does not answer and no snapshot is young enough
 */
export async function findSnapshot(
  source: SnapshotSource,
  hash: string,
  fresh: boolean,
): Promise<KeySnapshot | undefined> {
  if (fresh) return await readThrough(source, hash)
  const { cache, now, settings } = source
  const entry = cache.get(hash)
  if (entry === undefined) return await readThrough(source, hash)

  const lifetime = settings.keyCacheSeconds * 1000
  const age = now - entry.readAt
  if (age >= lifetime) return await readOrServeStale(source, hash, entry)
  if (age >= lifetime / 2 && now >= entry.refreshUntil) refreshAhead(source, hash)
  return entry.snapshot
}

/** A busy key is read again before it is too old, so that no request waits for D1. */
function refreshAhead(source: SnapshotSource, hash: string): void {
  source.cache.noteRefresh(hash, source.now + source.settings.d1TimeoutMs)
  waitUntil(readThrough(source, hash).catch(leaveToNext))
}

async function readOrServeStale(
  source: SnapshotSource,
  hash: string,
  entry: CachedKey,
): Promise<KeySnapshot | undefined> {
  const { cache, now, settings } = source
  const maySpeak = now - entry.readAt < settings.keyStaleSeconds * 1000
  const { failedAt } = entry
  if (maySpeak && failedAt !== null && now - failedAt < RETRY_AFTER_FAILURE_MS) {
    return entry.snapshot
  }
  try {
    return await readThrough(source, hash)
  } catch (failure) {
    if (!(failure instanceof Unavailable) || !maySpeak) throw failure
    cache.noteFailure(hash, now)
    noteOutage('serving-stale-key', now)
    return entry.snapshot
  }
}

/** Asks D1, and keeps what it says. What it does not know is forgotten and never kept. */
async function readThrough(
  { cache, database, now, settings }: SnapshotSource,
  hash: string,
): Promise<KeySnapshot | undefined> {
  const read = cache.startRead()
  const snapshot = await readKeySnapshot(database, hash, settings.d1TimeoutMs)
  if (snapshot === undefined) cache.drop(hash)
  else cache.keep(hash, snapshot, now, read)
  return snapshot
}

/** A refresh that failed: the next request that needs it reads for itself. */
function leaveToNext(): void {}

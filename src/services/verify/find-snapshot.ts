import { waitUntil } from 'cloudflare:workers'
import { isOverForGood, type KeySnapshot } from '../../domain/evaluate-key.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { VerifyContext } from '../context.ts'
import { askDatabase } from './ask-database.ts'
import { selectSnapshot } from './select-snapshot.ts'

/**
 * What is known of a secret by its hash: from memory while that is young enough, else from D1;
 * undefined: D1 does not know it.
 * @param fresh skip the memory: the answer is D1's, or there is none. A dead secret stays dead, so
 *   whoever holds one reads D1 no more often than otherwise
 * @throws Unavailable when D1 does not answer and no snapshot is young enough
 */
export async function findSnapshot(
  ctx: VerifyContext,
  hash: string,
  fresh: boolean,
): Promise<KeySnapshot | undefined> {
  const { isolate, now, settings } = ctx
  const entry = isolate.keys.get(hash)
  const lifetime = settings.keyCacheSeconds * SECOND_MS
  if (entry === undefined) return await readThrough(ctx, hash)
  const age = now - entry.readAt
  const isDead = entry.snapshot === undefined || isOverForGood(entry.snapshot, now)
  if (isDead && age < lifetime) return entry.snapshot
  if (fresh) return await readThrough(ctx, hash)
  if (age >= lifetime) return await readOrServeStale(ctx, hash)
  if (age >= lifetime / 2 && now >= entry.refreshUntil) refreshAhead(ctx, hash)
  return entry.snapshot
}

/** A busy key is read again before it is too old, so that no request waits for D1. */
function refreshAhead(ctx: VerifyContext, hash: string): void {
  ctx.isolate.keys.noteRefresh(hash, ctx.now + ctx.settings.d1TimeoutMs)
  waitUntil(readThrough(ctx, hash).catch(leaveToNext))
}

async function readOrServeStale(
  ctx: VerifyContext,
  hash: string,
): Promise<KeySnapshot | undefined> {
  const { isolate, now, settings } = ctx
  try {
    return await readThrough(ctx, hash)
  } catch (failure) {
    // A change here may have come while D1 was waited for.
    const entry = isolate.keys.get(hash)
    const staleMs = settings.keyStaleSeconds * SECOND_MS
    if (!(failure instanceof Unavailable) || entry?.snapshot === undefined) throw failure
    if (now - entry.readAt >= staleMs) throw failure
    isolate.log.note('serving-stale-key', now)
    return entry.snapshot
  }
}

/** Asks D1, and keeps what it says. */
async function readThrough(ctx: VerifyContext, hash: string): Promise<KeySnapshot | undefined> {
  const { keys } = ctx.isolate
  const read = keys.startRead()
  return await askDatabase(
    ctx,
    async () => await selectSnapshot(ctx.database, hash),
    (snapshot) => keys.keep(hash, snapshot, ctx.now, read),
  )
}

/** A refresh that failed: the next request that needs it reads for itself. */
function leaveToNext(): void {}

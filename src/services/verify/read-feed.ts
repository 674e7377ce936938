import { waitUntil } from 'cloudflare:workers'
import { and, asc, gt } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { revocations } from '../../db/schema.ts'
import { feedCutoff } from '../../domain/device-token.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { KnownRevocations, Revocation } from '../../isolate/known-revocations.ts'
import type { VerifyContext } from '../context.ts'
import { withTimeout } from '../with-timeout.ts'

/** How long a failing D1 is left alone while an older feed serves. */
const RETRY_AFTER_FAILURE_MS = 1000

/**
 * The feed, no older than REVOCATION_POLL_SECONDS: read ahead in the background after half of that,
 * waited for after all of it.
 * @param fresh ask D1 now
 * @throws Unavailable when D1 does not answer and what is known is older than KEY_STALE_SECONDS
 */
export async function currentFeed(ctx: VerifyContext, fresh: boolean): Promise<KnownRevocations> {
  const { now, settings } = ctx
  const { feed } = ctx.isolate
  const { readAt } = feed
  const poll = settings.revocationPollSeconds * SECOND_MS
  if (readAt === null || fresh) {
    await readFeed(ctx)
    return feed
  }
  const age = now - readAt
  if (age >= poll) await readOrServeStale(ctx, age)
  else if (age >= poll / 2 && feed.claimRefresh(now, now + settings.d1TimeoutMs)) {
    waitUntil(readFeed(ctx).catch(leaveToNext))
  }
  return feed
}

async function readOrServeStale(ctx: VerifyContext, age: number): Promise<void> {
  const { now, settings } = ctx
  const { feed, log } = ctx.isolate
  const maySpeak = age < settings.keyStaleSeconds * SECOND_MS
  const { failedAt } = feed
  if (maySpeak && failedAt !== null && now - failedAt < RETRY_AFTER_FAILURE_MS) return
  try {
    await readFeed(ctx)
  } catch (failure) {
    if (!(failure instanceof Unavailable) || !maySpeak) throw failure
    feed.noteFailure(now)
    log.note('serving-stale-feed', now)
  }
}

/**
 * Reads the entries after our position that are recent enough to concern a token that has not
 * expired.
 */
async function readFeed({ database, isolate, now, settings }: VerifyContext): Promise<void> {
  const { feed } = isolate
  const cutoff = feedCutoff(settings.deviceTokenSeconds, now)
  const isNew = and(gt(revocations.seq, feed.position), gt(revocations.at, cutoff))
  const query = openDatabase(database)
    .select()
    .from(revocations)
    .where(isNew)
    .orderBy(asc(revocations.seq))
  let entries: Revocation[]
  try {
    entries = await withTimeout(query.execute(), settings.d1TimeoutMs)
  } catch (cause) {
    throw new Unavailable('the revocation feed could not be read', { cause })
  }
  feed.take(entries, now, cutoff)
}

/** A refresh that failed: the next request that needs it reads for itself. */
function leaveToNext(): void {}

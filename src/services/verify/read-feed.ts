import { waitUntil } from 'cloudflare:workers'
import { and, asc, gt } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { revocations } from '../../db/schema.ts'
import { feedCutoff } from '../../domain/device-token.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { KnownRevocations } from '../../isolate/known-revocations.ts'
import type { VerifyContext } from '../context.ts'
import { askDatabase } from './ask-database.ts'

/**
 * The feed, no older than REVOCATION_POLL_SECONDS: read ahead in the background after half of that,
 * waited for after all of it. It is read at once for a token of what was changed here meanwhile.
 * @param fresh ask D1 now
 * @throws Unavailable when D1 does not answer and what is known is older than KEY_STALE_SECONDS, or
 *   from before a change of one of the subjects
 */
export async function currentFeed(
  ctx: VerifyContext,
  subjects: readonly string[],
  fresh: boolean,
): Promise<KnownRevocations> {
  const { now, settings } = ctx
  const { feed } = ctx.isolate
  const { readAt } = feed
  const poll = settings.revocationPollSeconds * SECOND_MS
  if (readAt === null || fresh || feed.hasMissedChange(subjects)) {
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
  const { now, settings, isolate } = ctx
  try {
    await readFeed(ctx)
  } catch (failure) {
    const maySpeak = age < settings.keyStaleSeconds * SECOND_MS
    if (!(failure instanceof Unavailable) || !maySpeak) throw failure
    isolate.log.note('serving-stale-feed', now)
  }
}

/**
 * Reads the entries after our position that are recent enough to concern a token that has not
 * expired.
 */
async function readFeed(ctx: VerifyContext): Promise<void> {
  const { database, isolate, now, settings } = ctx
  const { feed } = isolate
  const cutoff = feedCutoff(settings.deviceTokenSeconds, now)
  const isNew = and(gt(revocations.seq, feed.position), gt(revocations.at, cutoff))
  const query = openDatabase(database)
    .select()
    .from(revocations)
    .where(isNew)
    .orderBy(asc(revocations.seq))
  const read = feed.startRead()
  await askDatabase(
    ctx,
    async () => await query.execute(),
    (entries) => feed.take(entries, now, cutoff, read),
  )
}

/** A refresh that failed: the next request that needs it reads for itself. */
function leaveToNext(): void {}

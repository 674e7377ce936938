import { waitUntil } from 'cloudflare:workers'
import { and, asc, gt, sql } from 'drizzle-orm'
import { type Database, openDatabase } from '../../db/client.ts'
import { revocations } from '../../db/schema.ts'
import { feedCutoff } from '../../domain/device-token.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { KnownRevocations, Revocation } from '../../isolate/known-revocations.ts'
import type { VerifyContext } from '../context.ts'
import { askDatabase } from './ask-database.ts'

/** How many entries one statement reads: users in a hurry are not to hold up everybody. */
const PAGE_ENTRIES = 10_000

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

async function readFeed(ctx: VerifyContext): Promise<void> {
  const { isolate, now, settings } = ctx
  const { feed } = isolate
  const cutoff = feedCutoff(settings.deviceTokenSeconds, now)
  const read = feed.startRead()
  for (let isMore = true; isMore;) {
    // Each page has the whole time: a long feed is no outage, and a page that came is not lost.
    const page = await askDatabase(
      ctx,
      async () => await readPage(openDatabase(ctx.database), feed.position, cutoff),
      ({ newest }) => feed.add(newest),
    )
    isMore = page.entries === PAGE_ENTRIES
  }
  feed.land(now, cutoff, read)
}

type Page = { readonly newest: readonly Revocation[]; readonly entries: number }

/**
 * The next entries that are recent enough to concern a token that has not expired: so many at most,
 * and of each subject only the newest.
 */
async function readPage(db: Database, position: number, cutoff: number): Promise<Page> {
  const { seq, subject, at } = revocations
  const page = db
    .select({ seq, subject, at })
    .from(revocations)
    .where(and(gt(seq, position), gt(at, cutoff)))
    .orderBy(asc(seq))
    .limit(PAGE_ENTRIES)
    .as('page')
  const newest = await db
    .select({
      subject: page.subject,
      seq: sql<number>`max(${page.seq})`,
      at: sql<number>`max(${page.at})`,
      entries: sql<number>`count(*)`,
    })
    .from(page)
    .groupBy(page.subject)
  return { newest, entries: newest.reduce((sum, { entries }) => sum + entries, 0) }
}

/** A refresh that failed: the next request that needs it reads for itself. */
function leaveToNext(): void {}

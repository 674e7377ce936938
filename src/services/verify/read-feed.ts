import { waitUntil } from 'cloudflare:workers'
import { and, asc, gt, lt, sql, type SQL } from 'drizzle-orm'
import { openDatabase, type Database } from '../../db/client.ts'
import { revocations } from '../../db/schema.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { Revocation, RevocationFeed } from '../../isolate/known-revocations.ts'
import type { Settings } from '../../settings.ts'
import { noteOutage } from '../../isolate/sampled-log.ts'
import { withTimeout } from '../with-timeout.ts'

/** How far clocks may be apart without an entry being forgotten too early. */
const CLOCK_SLACK_MS = 120_000
/** How long a failing D1 is left alone while an older feed serves. */
const RETRY_AFTER_FAILURE_MS = 1000

export type FeedSource = {
  readonly database: D1Database
  readonly feed: RevocationFeed
  readonly settings: Settings
  /** Milliseconds. */
  readonly now: number
}

/**
 * The statement that puts an end on the feed, for the change's own batch: tokens of the subject
 * that were issued before it are dead. It does so only where `happens` holds.
 */
export function recordRevocation(db: Database, subject: string, now: number, happens: SQL) {
  return db.insert(revocations).select(sql`select null, ${subject}, ${now} where ${happens}`)
}

/**
 * The feed, no older than REVOCATION_POLL_SECONDS: read ahead in the background after half of that,
 * waited for after all of it.
 * @param fresh ask D1 now
 * @throws Unavailable when D1 does not answer and what is known is older than KEY_STALE_SECONDS
 */
export async function currentFeed(source: FeedSource, fresh: boolean): Promise<RevocationFeed> {
  const { feed, now, settings } = source
  const { readAt } = feed
  const poll = settings.revocationPollSeconds * 1000
  if (readAt === null || fresh) {
    await readFeed(source)
    return feed
  }
  const age = now - readAt
  if (age >= poll) await readOrServeStale(source, age)
  else if (age >= poll / 2 && feed.claimRefresh(now, now + settings.d1TimeoutMs)) {
    waitUntil(readFeed(source).catch(leaveToNext))
  }
  return feed
}

async function readOrServeStale(source: FeedSource, age: number): Promise<void> {
  const { feed, now, settings } = source
  const maySpeak = age < settings.keyStaleSeconds * 1000
  const { failedAt } = feed
  if (maySpeak && failedAt !== null && now - failedAt < RETRY_AFTER_FAILURE_MS) return
  try {
    await readFeed(source)
  } catch (failure) {
    if (!(failure instanceof Unavailable) || !maySpeak) throw failure
    feed.noteFailure(now)
    noteOutage('serving-stale-feed', now)
  }
}

/** Asks D1 only for what is new, and of that only for what a live token can know nothing of. */
async function readFeed({ database, feed, now, settings }: FeedSource): Promise<void> {
  const cutoff = now - settings.deviceTokenSeconds * 1000 - CLOCK_SLACK_MS
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

/** Forgets entries that are older than any token that they could concern. */
export async function pruneFeed(
  database: D1Database,
  settings: Settings,
  now: number,
): Promise<void> {
  const cutoff = now - settings.deviceTokenSeconds * 1000 - CLOCK_SLACK_MS
  await openDatabase(database).delete(revocations).where(lt(revocations.at, cutoff))
}

/** A refresh that failed: the next request that needs it reads for itself. */
function leaveToNext(): void {}

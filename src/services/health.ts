import { isDatabaseFailure, isStatementFault } from '../db/errors.ts'
import { SCHEMA_NUMBER } from '../db/schema.ts'
import { Unavailable } from '../domain/unavailable.ts'
import type { VerifyContext } from './context.ts'
import { withTimeout } from './with-timeout.ts'

/** How long an answer about the database stands, so that probes cannot load it. */
const PROBE_INTERVAL_MS = 5000
const PROBE_TIMEOUT_MS = 2000

/** `not_migrated`: D1 answers, and its schema is older than what this Worker needs. */
type DatabaseState = 'ok' | 'unavailable' | 'not_migrated'

/** How the database stands: asked at most once an isolate and interval. */
export async function databaseState({
  database,
  isolate,
  now,
}: VerifyContext): Promise<DatabaseState> {
  const { lastProbe } = isolate
  if (lastProbe !== undefined && now - lastProbe.at < PROBE_INTERVAL_MS) return lastProbe.found
  // While this one asks, the others say what was last known; the first ever all ask.
  if (lastProbe !== undefined) isolate.lastProbe = { at: now, found: lastProbe.found }
  const found = await probe(database)
  isolate.lastProbe = { at: now, found }
  return found
}

/**
 * What an unexpected failure is. Only an error that SQLite raised over a statement has D1 asked for
 * the number of its schema: if the schema is not behind, the statement is a bug of ours.
 */
export async function diagnose(
  database: D1Database,
  thrown: unknown,
): Promise<'unavailable' | 'not_migrated' | 'internal_error'> {
  if (thrown instanceof Unavailable || isDatabaseFailure(thrown)) return 'unavailable'
  if (!isStatementFault(thrown)) return 'internal_error'
  const found = await probe(database)
  return found === 'ok' ? 'internal_error' : found
}

/** A database without the table `meta` is from before schemas had numbers. One ahead is fine. */
async function probe(database: D1Database): Promise<DatabaseState> {
  try {
    const query = database.prepare("select value from meta where name = 'schema'")
    const number = Number(await withTimeout(query.first('value'), PROBE_TIMEOUT_MS))
    return number >= SCHEMA_NUMBER ? 'ok' : 'not_migrated'
  } catch (thrown) {
    return isStatementFault(thrown) ? 'not_migrated' : 'unavailable'
  }
}

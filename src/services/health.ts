import type { VerifyContext } from './context.ts'
import { withTimeout } from './with-timeout.ts'

/** How long an answer about the database stands, so that probes cannot load it. */
const PROBE_INTERVAL_MS = 5000
const PROBE_TIMEOUT_MS = 2000

/** Whether D1 answers: asked at most once an isolate and interval. */
export async function isDatabaseUp({ database, isolate, now }: VerifyContext): Promise<boolean> {
  const { lastProbe } = isolate
  if (lastProbe !== undefined && now - lastProbe.at < PROBE_INTERVAL_MS) return lastProbe.isUp
  // While this one asks, the others say what was last known; the first ever all ask.
  if (lastProbe !== undefined) isolate.lastProbe = { at: now, isUp: lastProbe.isUp }
  const isUp = await answers(database)
  isolate.lastProbe = { at: now, isUp }
  return isUp
}

async function answers(database: D1Database): Promise<boolean> {
  try {
    await withTimeout(database.prepare('select 1').first(), PROBE_TIMEOUT_MS)
    return true
  } catch {
    return false
  }
}

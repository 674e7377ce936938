import { waitUntil } from 'cloudflare:workers'
import { isDatabaseFailure } from '../../db/errors.ts'
import { Unavailable } from '../../domain/unavailable.ts'
import type { VerifyContext } from '../context.ts'
import { TimedOut, withTimeout } from '../with-timeout.ts'

/**
 * Asks D1 for what a verify needs, for at most D1_TIMEOUT_MS. While D1 fails, it is asked once an
 * isolate and second. An answer that comes too late for this request is still taken: else a D1 that
 * is always a little slow would leave a revoked key alive for as long as stale answers serve.
 * @param take keeps the answer for the requests to come
 * @throws Unavailable when D1 fails, is slow, or failed a moment ago; a fault of ours as it is
 */
export async function askDatabase<Answer>(
  { isolate, settings, now }: VerifyContext,
  ask: () => Promise<Answer>,
  take: (answer: Answer) => void,
): Promise<Answer> {
  const { outage } = isolate
  if (!outage.mayAsk(now)) throw new Unavailable('D1 failed a moment ago')
  const began = Date.now()
  const landed = landing(ask, take, () => outage.noteAnswer())
  try {
    return await withTimeout(landed, settings.d1TimeoutMs)
  } catch (cause) {
    if (!(cause instanceof TimedOut) && !isDatabaseFailure(cause)) throw cause
    outage.noteFailure(now + Date.now() - began)
    waitUntil(landed.catch(leaveToNext))
    throw new Unavailable('D1 did not answer in time', { cause })
  }
}

async function landing<Answer>(
  ask: () => Promise<Answer>,
  take: (answer: Answer) => void,
  noteAnswer: () => void,
): Promise<Answer> {
  const answer = await ask()
  noteAnswer()
  take(answer)
  return answer
}

/** A late answer that never came: the next request that needs it asks for itself. */
function leaveToNext(): void {}

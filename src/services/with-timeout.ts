/** Raised where something did not come in time. */
export class TimedOut extends Error {
  override readonly name = 'TimedOut'
}

/**
 * What is awaited, if it comes in time.
 * @throws TimedOut after that many milliseconds; and whatever the work throws
 */
export async function withTimeout<Value>(work: Promise<Value>, timeoutMs: number): Promise<Value> {
  const patience = new AbortController()
  try {
    return await Promise.race([work, giveUp(timeoutMs, patience.signal)])
  } finally {
    patience.abort()
  }
}

async function giveUp(timeoutMs: number, signal: AbortSignal): Promise<never> {
  await scheduler.wait(timeoutMs, { signal })
  throw new TimedOut('no answer in time')
}

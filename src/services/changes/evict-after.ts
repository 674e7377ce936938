import { keyCache } from '../../isolate/key-cache.ts'
import { revocationFeed } from '../../isolate/known-revocations.ts'

/**
 * Makes a change, and forgets what this isolate has cached of its subject: an owner's, a device's
 * or a key's id. Tokens are held against a feed that is read anew. Also when the change fails, since a commit whose answer was lost is a commit; but
 * not when it says that nothing happened, or anybody could empty the cache by asking for nothing.
 */
export async function evictingAfter<Outcome>(
  subject: string,
  change: () => Promise<Outcome>,
  happened: (outcome: Outcome) => boolean,
): Promise<Outcome> {
  let mayHaveHappened = true
  try {
    const outcome = await change()
    mayHaveHappened = happened(outcome)
    return outcome
  } finally {
    if (mayHaveHappened) {
      keyCache.forget(subject)
      revocationFeed.expire()
    }
  }
}

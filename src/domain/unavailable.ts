/** How long a caller is asked to wait where nothing better is known. */
export const RETRY_AFTER_SECONDS = 5

/**
 * Raised where an answer cannot be found out now. An outage is never reported as a bad key: the
 * doors answer 503 with Retry-After.
 */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

const MARKS: ReadonlySet<string> = new Set(['retryable', 'overloaded', 'durableObjectReset'])

/** What the platform says without a mark: also where the account's allowance is used up. */
const UNMARKED =
  /Network connection lost|^internal error|^Exceeded allowed|generating too much load|to be reset/

/**
 * Whether the platform failed, as against code of ours. It marks an error that may pass, that of an
 * overloaded object and that of an object that was reset. A lost connection and an internal error
 * have no mark, only their message. What our own code throws in an object has none of these.
 * @see https://developers.cloudflare.com/durable-objects/best-practices/error-handling
 */
export function isPlatformFailure(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false
  if (Object.entries(thrown).some(([name, value]) => MARKS.has(name) && value === true)) return true
  return UNMARKED.test(thrown.message)
}

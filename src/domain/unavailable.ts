/** How long a caller is asked to wait where nothing better is known. */
export const RETRY_AFTER_SECONDS = 5

/**
 * Raised where an answer cannot be found out now. An outage is never reported as a bad key: the
 * doors answer 503 with Retry-After.
 */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

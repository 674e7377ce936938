import { sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { signInFailures } from '../../db/schema.ts'
import { hourOf } from '../../domain/time.ts'
import { chargeLimiter } from '../charge-limiter.ts'
import type { VerifyContext } from '../context.ts'
import { type Account, FREE_FAILURES } from './find-account.ts'

/** What one attempt takes of the ten that the limiter allows a network at an account. */
const UNITS_OF_NETWORK = 5

/**
 * Charges a sign-in to an account at which somebody guesses, whatever network it comes from. It
 * comes before the hash. The account's own networks are never charged, so nobody is locked out
 * from where they signed in before. Sign-ins at the same moment do not see each other's failures:
 * this slows guessing down, and need not be exact.
 * @param limiter 10 a minute for an account
 * @returns whether the sign-in may go on
 */
export async function chargeSignIn(limiter: RateLimit, account: Account): Promise<boolean> {
  const { id, network, isNetworkKnown, failures } = account
  if (isNetworkKnown || failures < FREE_FAILURES) return true
  // A network's share is two in a minute: no single one uses up what all of them have.
  for (let unit = 0; unit < UNITS_OF_NETWORK; unit += 1) {
    if (!(await chargeLimiter(limiter, `${id} ${network}`))) return false
  }
  return await chargeLimiter(limiter, id)
}

/** Counts a failed sign-in, unless it comes from a network of the account's own. */
export async function countFailure(
  { database, now }: VerifyContext,
  { id: userId, network, isNetworkKnown }: Account,
): Promise<void> {
  if (isNetworkKnown) return
  const { userId: user, hour, network: from, count } = signInFailures
  await openDatabase(database)
    .insert(signInFailures)
    .values({ userId, hour: hourOf(now), network, count: 1 })
    .onConflictDoUpdate({ target: [user, hour, from], set: { count: sql`${count} + 1` } })
}

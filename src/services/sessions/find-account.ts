import { and, eq, getTableColumns, gt, sql } from 'drizzle-orm'
import { makeMac } from '../../crypto/key-check.ts'
import type { PasswordAlgorithm } from '../../crypto/password.ts'
import { openDatabase } from '../../db/client.ts'
import { signInFailures, signInNetworks, users } from '../../db/schema.ts'
import { usernameKey } from '../../domain/names.ts'
import { originOf } from '../../domain/network.ts'
import { DAY_MS, hourOf } from '../../domain/time.ts'
import type { AuditContext } from '../context.ts'
import { algorithmsInUse, passwordHashesNote } from './password-hashes.ts'

/** So many sign-ins to an account may fail in an hour before the next ones wait for a limiter. */
export const FREE_FAILURES = 20
/** How long a network counts as the account's own after a sign-in from there. */
export const NETWORK_KNOWN_MS = 30 * DAY_MS

/** Nothing else that is authenticated under the check secrets begins so. */
const LABEL = 'unknown username: '

/** An account that somebody signs in to, and how guessing at it stands. */
export type Account = {
  /** Undefined: no user has this username. */
  readonly user: typeof users.$inferSelect | undefined
  /** The user's id. For an unknown username, one that no user can have, always the same. */
  readonly id: string
  /** Whence the sign-in comes, as limits count it. */
  readonly network: string
  /** Whether the account signed in from there lately. */
  readonly isNetworkKnown: boolean
  /** Failures of this hour, over all networks; from FREE_FAILURES on it may say less than all. */
  readonly failures: number
  /** By which algorithms passwords are hashed here. */
  readonly algorithms: readonly PasswordAlgorithm[]
}

/**
 * Finds an account by its username, in one read. An unknown username takes the same steps and has
 * failures of its own: else a refusal would tell which accounts exist.
 */
export async function findAccount(ctx: AuditContext, username: string): Promise<Account> {
  const { database, settings, now, ip } = ctx
  const key = usernameKey(username)
  const { network } = originOf(ip)
  // The name itself is not stored: people type passwords into its field.
  const unknownId = `unknown_${await makeMac(LABEL + key, settings.checkSecrets[0])}`
  const id = sql<string>`coalesce(${users.id}, ${unknownId})`
  const ofThisHour = and(eq(signInFailures.userId, id), eq(signInFailures.hour, hourOf(now)))
  const known = and(
    eq(signInNetworks.userId, users.id),
    eq(signInNetworks.network, network),
    gt(signInNetworks.signedInAt, now - NETWORK_KNOWN_MS),
  )
  const [found] = await openDatabase(database)
    .select({
      user: getTableColumns(users),
      id,
      isNetworkKnown: sql`exists (select 1 from ${signInNetworks} where ${known})`.mapWith(Boolean),
      // Each row counts one failure or more: so many rows are enough, however many there are.
      failures: sql<number>`(select coalesce(sum(failures), 0) from (
        select ${signInFailures.count} as failures from ${signInFailures} where ${ofThisHour}
        limit ${FREE_FAILURES}))`,
      note: passwordHashesNote,
    })
    .from(sql`(select 1) as named`)
    .leftJoin(users, eq(users.usernameKey, key))
  if (found === undefined) throw new Error('a left join has a row for each of the left side')
  const { user, note, ...guesses } = found
  const algorithms = algorithmsInUse(note, settings.passwordAlgorithm)
  return { ...guesses, user: user ?? undefined, network, algorithms }
}

import { and, gt, inArray, isNull, lt, type SQL, sql } from 'drizzle-orm'
import { makeClaimCodes, userCodeHmacs } from '../../crypto/claim-codes.ts'
import { newId } from '../../crypto/ids.ts'
import { openDatabase } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { deviceClaims } from '../../db/schema.ts'
import { CLAIM_SECONDS, POLL_INTERVAL_SECONDS } from '../../domain/claim-poll.ts'
import { limitedNetwork } from '../../domain/network.ts'
import { parseUserCode } from '../../domain/user-code.ts'
import type { Settings } from '../../settings.ts'
import { parseScopes } from '../keys/key-row.ts'

/** Draws before a user code that is taken becomes a failure: of 20^8, one is taken hardly ever. */
const DRAWS_MAX = 3
/** How long an ended claim is remembered, so that a late poll is told `expired_token`. */
const REMEMBERED_MS = 3_600_000
/** How many one run forgets: the rest waits for the next. */
const FORGOTTEN_MAX = 5000

/** What a device says of itself, and from where. All of it is only its own word but the last two. */
export type ClaimRequest = {
  readonly clientId: string
  readonly deviceName: string | null
  /** None: whoever approves it decides. */
  readonly scopes: readonly string[]
  readonly ip: string | null
  /** Two letters, of the edge's making. */
  readonly country: string | null
}

/** A request that waits for somebody's decision. Times are milliseconds. */
export type Claim = ClaimRequest & {
  readonly id: string
  readonly createdAt: number
  readonly expiresAt: number
}

/** Puts a device's request on record. The codes are in the result and nowhere else. */
export async function requestClaim(
  database: D1Database,
  request: ClaimRequest,
  settings: Settings,
  now: number,
): Promise<{ readonly deviceCode: string; readonly userCode: string }> {
  const { scopes, ...fields } = request
  for (let draw = 1; ; draw += 1) {
    const { deviceCode, userCode, ...kept } = await makeClaimCodes(settings.checkSecrets)
    try {
      await openDatabase(database)
        .insert(deviceClaims)
        .values({
          id: newId('claim'),
          ...fields,
          ...kept,
          scopes: JSON.stringify(scopes),
          createdAt: now,
          expiresAt: now + CLAIM_SECONDS * 1000,
          intervalSeconds: POLL_INTERVAL_SECONDS,
        })
      return { deviceCode, userCode }
    } catch (thrown) {
      const isTaken = violatedUniqueColumn(thrown) === 'device_claims.user_code_hmac'
      if (!isTaken || draw === DRAWS_MAX) throw thrown
    }
  }
}

/** The claim behind a code that somebody typed, while it waits for a decision. */
export async function findClaim(
  database: D1Database,
  typedCode: string,
  settings: Settings,
  now: number,
): Promise<Claim | undefined> {
  const waiting = await isWaiting(typedCode, settings, now)
  if (waiting === undefined) return undefined
  const { id, clientId, deviceName, scopes, ip, country, createdAt, expiresAt } = deviceClaims
  const [row] = await openDatabase(database)
    .select({ id, clientId, deviceName, scopes, ip, country, createdAt, expiresAt })
    .from(deviceClaims)
    .where(waiting)
  return row && { ...row, scopes: parseScopes(row.scopes) }
}

/** The predicate of a typed code's claim: neither decided nor expired. Undefined for no code. */
export async function isWaiting(
  typedCode: string,
  settings: Settings,
  now: number,
): Promise<SQL | undefined> {
  const userCode = parseUserCode(typedCode)
  if (userCode === undefined) return undefined
  return and(
    inArray(deviceClaims.userCodeHmac, await userCodeHmacs(userCode, settings.checkSecrets)),
    isNull(deviceClaims.decidedAt),
    gt(deviceClaims.expiresAt, now),
  )
}

/**
 * Charges one look at a typed code (RFC 8628 §5.1): 10 a minute for an address and for a user, so
 * that neither many users nor many addresses make guessing quicker than the sum of both.
 */
export async function chargeClaimAttempt(
  limiter: RateLimit,
  ip: string | null,
  userId: string,
): Promise<boolean> {
  const byIp = await limiter.limit({ key: limitedNetwork(ip ?? 'none') })
  return byIp.success && (await limiter.limit({ key: userId })).success
}

/** Charges one request for codes, by a caller who is nobody yet. */
export async function chargeClaimRequest(limiter: RateLimit, ip: string | null): Promise<boolean> {
  return (await limiter.limit({ key: limitedNetwork(ip ?? 'none') })).success
}

/** Deletes what ended long enough ago. */
export async function forgetClaims(database: D1Database, now: number): Promise<void> {
  const ended = sql`(select ${deviceClaims.id} from ${deviceClaims}
    where ${lt(deviceClaims.expiresAt, now - REMEMBERED_MS)} limit ${FORGOTTEN_MAX})`
  await openDatabase(database).delete(deviceClaims).where(inArray(deviceClaims.id, ended))
}

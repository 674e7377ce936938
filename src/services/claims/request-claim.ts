import { and, gt, isNull, type SQL, sql } from 'drizzle-orm'
import { makeClaimCodes } from '../../crypto/claim-codes.ts'
import { newId } from '../../crypto/ids.ts'
import { openDatabase } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { insertWhere } from '../../db/insert-where.ts'
import { deviceClaims } from '../../db/schema.ts'
import { CLAIM_SECONDS, type ClaimClient, POLL_INTERVAL_SECONDS } from '../../domain/claim-poll.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** Draws before a user code that is taken becomes a failure: of 20^8, one is taken hardly ever. */
const DRAWS_MAX = 3

/** What a device asks for. Its name and scopes are the device's own, unverified word. */
export type ClaimRequest = ClaimClient & {
  readonly deviceName: string | null
  /** Empty: whoever approves it decides. */
  readonly scopes: readonly string[]
  readonly ip: string | null
  /** Two letters, from the edge. */
  readonly country: string | null
}

/** The two codes of a claim, which are known here and nowhere else. */
type Codes = { readonly deviceCode: string; readonly userCode: string }

/** Puts a device's request on record, unless as many claims wait as may. */
export async function requestClaim(
  { database, settings, now }: VerifyContext,
  request: ClaimRequest,
): Promise<Result<Codes, 'too_many_pending'>> {
  const { scopes, ...fields } = request
  const db = openDatabase(database)
  const hasRoom = hasRoomForPending(settings.claimMaxPending, now)
  for (let draw = 1; ; draw += 1) {
    const { deviceCode, userCode, ...kept } = await makeClaimCodes(settings.checkSecrets)
    try {
      const row = {
        id: newId('claim'),
        ...fields,
        ...kept,
        scopes: JSON.stringify(scopes),
        createdAt: now,
        expiresAt: now + CLAIM_SECONDS * SECOND_MS,
        intervalSeconds: POLL_INTERVAL_SECONDS,
      }
      const { meta } = await insertWhere(db, deviceClaims, row, hasRoom).run()
      return meta.changes === 0 ? err('too_many_pending') : ok({ deviceCode, userCode })
    } catch (thrown) {
      const isTaken = violatedUniqueColumn(thrown) === 'device_claims.user_code_hmac'
      if (!isTaken || draw === DRAWS_MAX) throw thrown
    }
  }
}

/**
 * Whether fewer claims wait than may. The insert asks it itself: of two at once, the second counts
 * the first. It reads no more of the index of waiting claims than may wait.
 */
function hasRoomForPending(max: number, now: number): SQL {
  const waits = and(isNull(deviceClaims.decidedAt), gt(deviceClaims.expiresAt, now))
  const pending = sql`select 1 from ${deviceClaims} where ${waits} limit ${max}`
  return sql`(select count(*) from (${pending})) < ${max}`
}

import { makeClaimCodes } from '../../crypto/claim-codes.ts'
import { newId } from '../../crypto/ids.ts'
import { openDatabase } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { deviceClaims } from '../../db/schema.ts'
import { CLAIM_SECONDS, type ClaimClient, POLL_INTERVAL_SECONDS } from '../../domain/claim-poll.ts'
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

/** Puts a device's request on record. The codes are in the result and nowhere else. */
export async function requestClaim(
  { database, settings, now }: VerifyContext,
  request: ClaimRequest,
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
          expiresAt: now + CLAIM_SECONDS * SECOND_MS,
          intervalSeconds: POLL_INTERVAL_SECONDS,
        })
      return { deviceCode, userCode }
    } catch (thrown) {
      const isTaken = violatedUniqueColumn(thrown) === 'device_claims.user_code_hmac'
      if (!isTaken || draw === DRAWS_MAX) throw thrown
    }
  }
}

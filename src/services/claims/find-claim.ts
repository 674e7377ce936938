import { and, eq, gt, inArray, isNull, type SQL } from 'drizzle-orm'
import { userCodeHmacs } from '../../crypto/claim-codes.ts'
import { openDatabase } from '../../db/client.ts'
import { deviceClaims } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { parseUserCode } from '../../domain/user-code.ts'
import type { VerifyContext } from '../context.ts'
import { parseScopes } from '../keys/key-row.ts'
import type { ClaimRequest } from './request-claim.ts'

/** A request that waits for somebody's decision. Times are milliseconds. */
export type Claim = ClaimRequest & {
  readonly id: string
  readonly createdAt: number
  readonly expiresAt: number
}

/** The claim behind a code that somebody typed, while it waits for a decision. */
export async function findClaim(
  { database, settings, now }: VerifyContext,
  typedCode: string,
): Promise<Result<Claim, 'not_found'>> {
  const userCode = parseUserCode(typedCode)
  if (userCode === undefined) return err('not_found')
  const hmacs = await userCodeHmacs(userCode, settings.checkSecrets)
  const { id, clientId, deviceName, scopes, ip, country, createdAt, expiresAt } = deviceClaims
  const [row] = await openDatabase(database)
    .select({ id, clientId, deviceName, scopes, ip, country, createdAt, expiresAt })
    .from(deviceClaims)
    .where(and(inArray(deviceClaims.userCodeHmac, hmacs), waits(now)))
  return row === undefined ? err('not_found') : ok({ ...row, scopes: parseScopes(row.scopes) })
}

/** A claim that waits: neither decided nor expired. */
export function isWaiting(claim: Claim, now: number): SQL | undefined {
  return and(eq(deviceClaims.id, claim.id), waits(now))
}

function waits(now: number): SQL | undefined {
  return and(isNull(deviceClaims.decidedAt), gt(deviceClaims.expiresAt, now))
}

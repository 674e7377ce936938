import { and, eq, gt, inArray, isNull, or, type SQL, sql } from 'drizzle-orm'
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

const { id, clientId, clientDeviceId, deviceName, scopes } = deviceClaims
const { ip, country, createdAt, expiresAt } = deviceClaims
const ASKED_COLUMNS = { clientId, clientDeviceId, deviceName, scopes, ip, country }
const CLAIM_COLUMNS = { id, ...ASKED_COLUMNS, createdAt, expiresAt }

/** The claim behind a code that somebody typed, while it waits for a decision. */
export async function findClaim(
  { database, settings, now }: VerifyContext,
  typedCode: string,
): Promise<Result<Claim, 'not_found'>> {
  const userCode = parseUserCode(typedCode)
  if (userCode === undefined) return err('not_found')
  const hmacs = await userCodeHmacs(userCode, settings.checkSecrets)
  const [row] = await openDatabase(database)
    .select(CLAIM_COLUMNS)
    .from(deviceClaims)
    .where(and(inArray(deviceClaims.userCodeHmac, hmacs), waits(now)))
  return row === undefined ? err('not_found') : ok({ ...row, scopes: parseScopes(row.scopes) })
}

/** How far a claim has come: `handed_out` until the secret is first used. */
export type ClaimStatus = 'pending' | 'approved' | 'withdrawn' | 'handed_out' | 'used'

/** The claim behind a typed code, while it waits for a decision or if this user approved it. */
export async function findClaimFor(
  { database, settings, now }: VerifyContext,
  { userId, typedCode }: { readonly userId: string; readonly typedCode: string },
): Promise<Result<{ readonly claim: Claim; readonly status: ClaimStatus }, 'not_found'>> {
  const userCode = parseUserCode(typedCode)
  if (userCode === undefined) return err('not_found')
  const hmacs = await userCodeHmacs(userCode, settings.checkSecrets)
  const { redeemedAt, decidedAt, deniedAt } = deviceClaims
  // By names: Drizzle leaves the tables out of columns in the fields of a select from one table.
  const used = sql<number>`exists (select 1 from key_secrets
    where key_secrets.key_id = device_claims.key_id and first_used_at is not null)`
  const [row] = await openDatabase(database)
    .select({ claim: CLAIM_COLUMNS, redeemedAt, decidedAt, deniedAt, used })
    .from(deviceClaims)
    .where(
      and(
        inArray(deviceClaims.userCodeHmac, hmacs),
        or(waits(now), eq(deviceClaims.approvedBy, userId)),
      ),
    )
  if (row === undefined) return err('not_found')
  const claim = { ...row.claim, scopes: parseScopes(row.claim.scopes) }
  return ok({ claim, status: statusOf(row) })
}

function statusOf(row: {
  readonly decidedAt: number | null
  readonly deniedAt: number | null
  readonly redeemedAt: number | null
  readonly used: number
}): ClaimStatus {
  if (row.decidedAt === null) return 'pending'
  if (row.redeemedAt === null) return row.deniedAt === null ? 'approved' : 'withdrawn'
  return row.used === 1 ? 'used' : 'handed_out'
}

/** The claim in the words of the audit. */
export function claimAuditFields({ id, clientId, ip, country }: Claim): Record<string, unknown> {
  return { claim_id: id, client_id: clientId, requested_from: { ip, country } }
}

/** A claim that waits: neither decided nor expired. */
export function isWaiting(claim: Claim, now: number): SQL | undefined {
  return and(eq(deviceClaims.id, claim.id), waits(now))
}

function waits(now: number): SQL | undefined {
  return and(isNull(deviceClaims.decidedAt), gt(deviceClaims.expiresAt, now))
}

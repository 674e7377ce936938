import { eq } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deviceClaims } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { findHandedOut, type HandedOut, type Reused } from '../changes/idempotency.ts'
import type { AuditContext } from '../context.ts'
import { parseScopes } from '../keys/key-row.ts'
import type { Claim } from './find-claim.ts'

/** A claim after its decision. */
export type DecidedClaim = Claim & {
  readonly decision: 'approve' | 'deny'
  /** What the new device will be called; null where there is none. */
  readonly grantedName: string | null
  readonly grantedScopes: readonly string[]
  readonly deviceId: string | null
  /** Whether this is the answer to a repeated request. */
  readonly isReplay: boolean
}

type Repeated = Result<DecidedClaim, 'not_found' | Reused>

/** The decision that the same request made before; undefined: it made none. */
export async function decidedBefore(ctx: AuditContext): Promise<Repeated | undefined> {
  const repeated = await findHandedOut(ctx)
  return repeated && (await decidedAgain(ctx, repeated))
}

/** A decision once more, as the claim now says it. */
export async function decidedAgain(
  { database }: AuditContext,
  repeated: Result<HandedOut, Reused>,
): Promise<Repeated> {
  if (!repeated.ok) return repeated
  const [row] = await openDatabase(database)
    .select()
    .from(deviceClaims)
    .where(eq(deviceClaims.id, repeated.value['claimId'] ?? ''))
  if (row === undefined) return err('not_found')
  return ok({
    id: row.id,
    clientId: row.clientId,
    deviceName: row.deviceName,
    ip: row.ip,
    country: row.country,
    createdAt: row.createdAt,
    expiresAt: row.expiresAt,
    scopes: parseScopes(row.scopes),
    decision: row.deniedAt === null ? 'approve' : 'deny',
    grantedName: row.approvedName,
    grantedScopes: parseScopes(row.approvedScopes ?? '[]'),
    deviceId: row.targetDeviceId,
    isReplay: true,
  })
}

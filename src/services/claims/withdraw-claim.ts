import { and, eq, sql } from 'drizzle-orm'
import { deviceClaims } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import { unspentClaims } from '../changes/withdraw-claims.ts'
import type { AuditContext } from '../context.ts'
import { claimAuditFields, findClaimFor } from './find-claim.ts'

/**
 * Withdraws the approval of the claim behind a typed code. It succeeds again where that has
 * happened; it finds nothing where the user approved nothing, or where the secret was handed out.
 */
export async function withdrawClaim(
  ctx: AuditContext,
  sought: { readonly userId: string; readonly typedCode: string },
): Promise<Result<void, 'not_found'>> {
  const found = await findClaimFor(ctx, sought)
  if (!found.ok) return found
  const { claim, status } = found.value
  if (status === 'withdrawn') return ok(undefined)
  if (status !== 'approved') return err('not_found')
  const { userId } = sought
  const unspent = and(eq(deviceClaims.id, claim.id), unspentClaims({ userId }))
  const change = openChange(
    ctx,
    { action: 'claim.withdrawn', userId, before: claimAuditFields(claim) },
    sql`exists (select 1 from ${deviceClaims} where ${unspent})`,
  )
  const { happened, left } = await commit(change, {
    withdrawn: change.update(deviceClaims, { deniedAt: ctx.now }, unspent),
    // Whether a request at the same time has withdrawn it, or a poll has spent it.
    left: change.db
      .select({ deniedAt: deviceClaims.deniedAt })
      .from(deviceClaims)
      .where(eq(deviceClaims.id, claim.id)),
  })
  const isWithdrawn = happened || (left[0] !== undefined && left[0].deniedAt !== null)
  return isWithdrawn ? ok(undefined) : err('not_found')
}

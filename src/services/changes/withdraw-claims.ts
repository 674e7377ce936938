import { and, eq, isNotNull, isNull, type SQL } from 'drizzle-orm'
import { deviceClaims } from '../../db/schema.ts'
import type { Change } from './open-change.ts'

/** Whose approvals are withdrawn: all of a user's, or those made in one session. */
type Approvals = { readonly userId: string | SQL; readonly sessionId?: string }

/**
 * Claims that were approved and not spent yet, by the index of those. A claim that was withdrawn
 * keeps its approver, and says when it was denied.
 */
export function unspentClaims({ userId, sessionId }: Approvals): SQL | undefined {
  const { approvedBy, approvedSessionId, redeemedAt, deniedAt } = deviceClaims
  return and(
    isNotNull(approvedBy),
    eq(approvedBy, userId),
    sessionId === undefined ? undefined : eq(approvedSessionId, sessionId),
    isNull(redeemedAt),
    isNull(deniedAt),
  )
}

/**
 * The statement that withdraws approvals with the change that takes their author's access away. A
 * poll at the same time is before it or after it.
 * @example
 *     await commit(change, { user: …, claims: withdrawClaims(change, { userId }) })
 */
export function withdrawClaims(change: Change, approvals: Approvals) {
  return change.update(deviceClaims, { deniedAt: change.ctx.now }, unspentClaims(approvals))
}

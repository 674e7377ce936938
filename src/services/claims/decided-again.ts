import { err, ok, type Result } from '../../domain/result.ts'
import { findHandedOut, type HandedOut, type Reused } from '../changes/idempotency.ts'
import type { AuditContext } from '../context.ts'
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

/** What a decision is answered with once more: claims are forgotten sooner than that. */
export function handedOutOf(decided: DecidedClaim): HandedOut {
  return { decided: JSON.stringify(decided) }
}

/** The decision that the same request made before; undefined: it made none. */
export async function decidedBefore(ctx: AuditContext): Promise<Repeated | undefined> {
  const repeated = await findHandedOut(ctx)
  return repeated && decidedAgain(repeated)
}

/** A decision once more. */
export function decidedAgain(repeated: Result<HandedOut, Reused>): Repeated {
  if (!repeated.ok) return repeated
  const { decided = 'null' } = repeated.value
  const claim: DecidedClaim | null = JSON.parse(decided)
  return claim === null ? err('not_found') : ok({ ...claim, isReplay: true })
}

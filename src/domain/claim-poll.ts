/** How long the two codes of a claim are good (RFC 8628 §3.2). */
export const CLAIM_SECONDS = 600
/** How long a device waits between polls, and by how much that grows when it does not (§3.5). */
export const POLL_INTERVAL_SECONDS = 5
export const SLOW_DOWN_SECONDS = 5

/** Why a poll gets nothing: the words of RFC 8628 §3.5 and RFC 6749 §5.2. */
export type PollRefusal =
  | 'authorization_pending'
  | 'slow_down'
  | 'access_denied'
  | 'expired_token'
  | 'invalid_grant'

/** What a poll finds of a claim. Times are milliseconds. */
export type PolledClaim = {
  readonly expiresAt: number
  readonly intervalSeconds: number
  /** The poll before this one. */
  readonly lastPolledAt: number | null
  readonly decidedAt: number | null
  readonly deniedAt: number | null
  readonly redeemedAt: number | null
}

/**
 * What a poll is told; undefined: the claim is approved, so go and spend it. `slow_down` is a kind
 * of `authorization_pending` (RFC 8628 §3.5): who polls too fast after the approval still gets it.
 */
export function refusalOfPoll(claim: PolledClaim, now: number): PollRefusal | undefined {
  if (claim.redeemedAt !== null) return 'invalid_grant'
  if (claim.deniedAt !== null) return 'access_denied'
  if (now >= claim.expiresAt) return 'expired_token'
  if (claim.decidedAt !== null) return undefined
  const { lastPolledAt, intervalSeconds } = claim
  const isEarly = lastPolledAt !== null && now < lastPolledAt + intervalSeconds * 1000
  return isEarly ? 'slow_down' : 'authorization_pending'
}

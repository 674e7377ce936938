import { err, ok, type Result } from './result.ts'
import { SECOND_MS } from './time.ts'

/** How long the two codes of a claim are good (RFC 8628 §3.2). */
export const CLAIM_SECONDS = 600
/** How long past its end an approval in time is honoured: the poll may have been under way. */
export const APPROVAL_GRACE_SECONDS = 60
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
  | 'invalid_client'

/** Who asks for a claim, or polls for one. */
export type ClaimClient = {
  /** What a client calls itself, unverified; or the id of the device that authenticated. */
  readonly clientId: string
  /** The device that authenticated with its own secret; null: the client is public. */
  readonly clientDeviceId: string | null
}

const DEVICE_ID = /^dev_[0-9a-z]{26}$/i

/** Whether a client's id has the form of a device's id (a TypeID), whatever it names. */
export function isDeviceIdShaped(clientId: string): boolean {
  return DEVICE_ID.test(clientId)
}

/**
 * Why a client may not poll for what another asked for (RFC 6749 §5.2); undefined: it may. What a
 * device asked for with its secret, it polls for with its secret (RFC 8628 §3.4).
 */
export function refusalOfClient(
  asked: ClaimClient,
  polling: ClaimClient,
): 'invalid_client' | 'invalid_grant' | undefined {
  if (asked.clientDeviceId !== null) {
    return asked.clientDeviceId === polling.clientDeviceId ? undefined : 'invalid_client'
  }
  return asked.clientId === polling.clientId ? undefined : 'invalid_grant'
}

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
 * What a poll gets: the secret (`spend`), a fresh one in the place of one that was handed out
 * (`again`: its answer may have been lost), or a refusal. `slow_down` is a kind of
 * `authorization_pending` (RFC 8628 §3.5): a device that polls too fast after the approval still
 * gets its secret.
 */
export function decidePoll(
  claim: PolledClaim,
  now: number,
): Result<'spend' | 'again', PollRefusal> {
  if (claim.redeemedAt !== null) {
    return now < spendableUntil(claim) ? ok('again') : err('invalid_grant')
  }
  if (claim.deniedAt !== null) return err('access_denied')
  if (claim.decidedAt !== null)
    return now < spendableUntil(claim) ? ok('spend') : err('expired_token')
  if (now >= claim.expiresAt) return err('expired_token')
  const { lastPolledAt, intervalSeconds } = claim
  const isEarly = lastPolledAt !== null && now < lastPolledAt + intervalSeconds * SECOND_MS
  return err(isEarly ? 'slow_down' : 'authorization_pending')
}

function spendableUntil({ expiresAt }: PolledClaim): number {
  return expiresAt + APPROVAL_GRACE_SECONDS * SECOND_MS
}

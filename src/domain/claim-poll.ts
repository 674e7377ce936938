import { err, ok, type Result } from './result.ts'
import { SECOND_MS } from './time.ts'

/** How long the two codes of a claim are good (RFC 8628 §3.2). */
export const CLAIM_SECONDS = 600
/** How long past its end an approval in time is honoured: the poll may have been under way. */
export const APPROVAL_GRACE_SECONDS = 60
/** How long a device waits between polls, and by how much that grows when it does not (§3.5). */
export const POLL_INTERVAL_SECONDS = 5
export const SLOW_DOWN_SECONDS = 5
/** How far that grows: an approval reaches even the most impatient device within this time. */
export const POLL_INTERVAL_MAX_SECONDS = 60

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
 * Why a client may not poll for a claim (RFC 6749 §5.2); undefined: it may. A device that asked
 * with its secret has to poll with its secret (RFC 8628 §3.4).
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
  readonly decidedAt: number | null
  readonly deniedAt: number | null
  readonly redeemedAt: number | null
}

/**
 * What a poll gets: the secret (`spend`), a fresh one in the place of one that was handed out
 * (`again`: its answer may have been lost), or a refusal.
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
  return err(now < claim.expiresAt ? 'authorization_pending' : 'expired_token')
}

function spendableUntil({ expiresAt }: PolledClaim): number {
  return expiresAt + APPROVAL_GRACE_SECONDS * SECOND_MS
}

/** How the polls of one device code come. Times are milliseconds. */
export type PollPace = {
  readonly polledAt: number
  /** The last poll for which the database was read. */
  readonly readAt: number
  readonly intervalSeconds: number
}

/** A poll among those before it. */
export type PacedPoll = PollPace & { readonly isEarly: boolean; readonly mayRead: boolean }

/**
 * Places a poll among those before it. A poll within the interval after the last one is too early,
 * and makes the interval grow (RFC 8628 §3.5). A poll may read the database once the interval has
 * passed since the last read: else a device that never waits would not learn of its approval.
 */
export function pacePoll(before: PollPace | undefined, now: number): PacedPoll {
  if (before === undefined) {
    const first = { polledAt: now, readAt: now, intervalSeconds: POLL_INTERVAL_SECONDS }
    return { ...first, isEarly: false, mayRead: true }
  }
  const { polledAt, readAt, intervalSeconds } = before
  const isEarly = isWithin(now, polledAt, intervalSeconds)
  const mayRead = !isWithin(now, readAt, intervalSeconds)
  return {
    polledAt: now,
    readAt: mayRead ? now : readAt,
    intervalSeconds: isEarly ? slowedDown(intervalSeconds) : intervalSeconds,
    isEarly,
    mayRead,
  }
}

/** Whether a poll comes too early after another. A clock that fell back far has no say. */
export function isWithin(now: number, earlier: number, intervalSeconds: number): boolean {
  return Math.abs(now - earlier) < intervalSeconds * SECOND_MS
}

/** The interval after a poll that came too early. */
export function slowedDown(intervalSeconds: number): number {
  const longer = Math.min(intervalSeconds + SLOW_DOWN_SECONDS, POLL_INTERVAL_MAX_SECONDS)
  return Math.max(intervalSeconds, longer)
}

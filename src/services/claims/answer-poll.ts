import { and, eq, isNull, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { deviceClaims } from '../../db/schema.ts'
import {
  type ClaimClient,
  isWithin,
  type PacedPoll,
  type PollRefusal,
  refusalOfClient,
  slowedDown,
} from '../../domain/claim-poll.ts'
import { err, type Result } from '../../domain/result.ts'
import type { VerifyContext } from '../context.ts'
import type { ClaimRow, RedeemedClaim } from './redeem-again.ts'

type Answer = Result<RedeemedClaim, PollRefusal>

/**
 * Answers a poll from memory if it comes too early, and otherwise by what the claim says. A claim
 * that waits costs one read, and a write where the device has to wait longer than D1 knows.
 * @param hash of a device code that was made here
 * @param answer decides about the claim once it was read
 */
export async function answerPoll(
  ctx: VerifyContext,
  { hash, client }: { readonly hash: string; readonly client: ClaimClient },
  answer: (claim: ClaimRow) => Promise<Answer>,
): Promise<Answer> {
  const { claimPolls } = ctx.isolate
  const noted = claimPolls.note(hash, client, ctx.now)
  if (!noted.ok) return noted
  const poll = noted.value
  try {
    const claim = await findPolled(ctx, hash)
    if (claim === undefined) return err(claimPolls.refuse(hash, poll, 'invalid_grant'))
    const { clientId, clientDeviceId } = claim
    const asker = { clientId, clientDeviceId }
    const stranger = refusalOfClient(asker, client)
    if (stranger !== undefined) {
      claimPolls.noteStranger(hash, asker)
      return err(stranger)
    }
    const answered = await answer(claim)
    if (answered.ok) claimPolls.forget(hash)
    else if (answered.reason === 'authorization_pending') {
      const { isEarly, ...pace } = await slowDown(ctx, claim, poll)
      claimPolls.refuse(hash, pace, 'slow_down', asker)
      return err(isEarly ? 'slow_down' : 'authorization_pending')
    } else claimPolls.refuse(hash, poll, answered.reason, asker)
    return answered
  } catch (thrown) {
    // The claim may be spent or not: the next poll asks at once.
    claimPolls.forget(hash)
    throw thrown
  }
}

async function findPolled(
  { database }: VerifyContext,
  hash: string,
): Promise<ClaimRow | undefined> {
  const [claim] = await openDatabase(database)
    .select()
    .from(deviceClaims)
    .where(eq(deviceClaims.deviceCodeHash, hash))
  return claim
}

/**
 * What this isolate and the others know together of a waiting claim's polls. Only a grown interval
 * is written, with the time of this poll: of polls in time, other isolates need not know.
 */
async function slowDown(
  { database, now }: VerifyContext,
  claim: ClaimRow,
  poll: PacedPoll,
): Promise<PacedPoll> {
  const { lastPolledAt } = claim
  const known = Math.max(poll.intervalSeconds, claim.intervalSeconds)
  const isEarlyElsewhere =
    !poll.isEarly && lastPolledAt !== null && isWithin(now, lastPolledAt, claim.intervalSeconds)
  const intervalSeconds = isEarlyElsewhere ? slowedDown(known) : known
  if (intervalSeconds > claim.intervalSeconds) {
    await openDatabase(database)
      .update(deviceClaims)
      .set({
        intervalSeconds: sql`max(${deviceClaims.intervalSeconds}, ${intervalSeconds})`,
        lastPolledAt: now,
      })
      .where(and(eq(deviceClaims.id, claim.id), isNull(deviceClaims.decidedAt)))
  }
  return { ...poll, intervalSeconds, isEarly: poll.isEarly || isEarlyElsewhere }
}

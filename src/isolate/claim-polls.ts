import {
  type ClaimClient,
  type PacedPoll,
  pacePoll,
  type PollPace,
  type PollRefusal,
  refusalOfClient,
} from '../domain/claim-poll.ts'
import { err, ok, type Result } from '../domain/result.ts'
import { Lru } from './lru.ts'

type KnownCode = {
  /** Who asked for the claim; undefined until D1 has said so. */
  readonly asker?: ClaimClient | undefined
  /** Undefined: its asker has not polled yet. */
  readonly pace?: PollPace | undefined
  /** What a poll that may not read D1 is answered with. */
  readonly refusal: PollRefusal
}

/** What no later poll can be told otherwise: it is repeated without a read. */
const FINAL: ReadonlySet<PollRefusal> = new Set(['access_denied', 'expired_token'])

/** As many as there may be pending claims, by default. */
const CAPACITY = 10_000

/**
 * The device codes that were polled here, by their hashes. A poll that comes too early is answered
 * from this memory. Other isolates do not know of it, so the bound is one read of D1 for each
 * interval and isolate.
 */
export class ClaimPolls {
  readonly #codes = new Lru<KnownCode>(CAPACITY)

  /**
   * Notes a poll before D1 is read: of many at once, one reads.
   * @returns the poll's place among the others if it may read D1, and else its answer
   */
  note(hash: string, client: ClaimClient, now: number): Result<PacedPoll, PollRefusal> {
    const known = this.#codes.get(hash)
    const stranger = known?.asker && refusalOfClient(known.asker, client)
    if (stranger !== undefined) return err(stranger)
    if (known !== undefined && FINAL.has(known.refusal)) return err(known.refusal)
    const { isEarly, mayRead, ...pace } = pacePoll(known?.pace, now)
    const refusal = known?.refusal ?? 'slow_down'
    this.#codes.set(hash, { asker: known?.asker, pace, refusal })
    return mayRead ? ok({ ...pace, isEarly, mayRead }) : err(refusal)
  }

  /** Keeps what the polls are refused with until one of them may read D1 again. */
  refuse<Refusal extends PollRefusal>(
    hash: string,
    poll: PollPace,
    refusal: Refusal,
    asker?: ClaimClient,
  ): Refusal {
    // Others may have come while D1 was read.
    const { polledAt, readAt, intervalSeconds } = this.#codes.peek(hash)?.pace ?? poll
    const longer = Math.max(intervalSeconds, poll.intervalSeconds)
    this.#codes.set(hash, { asker, pace: { polledAt, readAt, intervalSeconds: longer }, refusal })
    return refusal
  }

  /** Keeps who asked for the claim, after another client has polled for it. */
  noteStranger(hash: string, asker: ClaimClient): void {
    this.#codes.set(hash, { asker, refusal: 'slow_down' })
  }

  /** Has the next poll read D1. */
  forget(hash: string): void {
    this.#codes.delete(hash)
  }
}

import { batch, type ResultsOf, type Statements } from '../../db/batch.ts'
import { type Change, mayStillAct } from './open-change.ts'

/** Raised where a user's session ended after the request was let in, and before it could act. */
export class SessionEnded extends Error {
  override readonly name = 'SessionEnded'
}

/** The named results of a change's statements, and whether the change happened. */
export type Committed<Named extends Statements> = ResultsOf<Named> & { readonly happened: boolean }

/**
 * Commits a change: its audit row and these statements, in one transaction.
 * @throws SessionEnded when it did not happen because its author may no longer act
 */
export async function commit<Named extends Statements>(
  change: Change,
  statements: Named,
): Promise<Committed<Named>>
export async function commit(
  change: Change,
  statements: Statements,
): Promise<Committed<Statements>> {
  const { audit, ...results } = await batch(change.db, { audit: change.audit, ...statements })
  const happened = audit.length > 0
  if (!happened && !(await mayStillAct(change.db, change.ctx))) throw new SessionEnded()
  return { ...results, happened }
}

/**
 * Commits a change, then evicts what this isolate remembers of its subject (an owner's, a device's
 * or a key's id). It evicts even if the commit throws, because the commit may have succeeded and
 * only its answer been lost. It does not evict if nothing happened; otherwise anyone could flush
 * the cache with made-up ids.
 */
export async function commitThenEvict<Named extends Statements>(
  change: Change,
  subject: string,
  statements: Named,
): Promise<Committed<Named>> {
  let mayHaveHappened = true
  try {
    const committed = await commit(change, statements)
    mayHaveHappened = committed.happened
    return committed
  } finally {
    if (mayHaveHappened) change.ctx.isolate.evict(subject)
  }
}

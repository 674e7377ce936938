import { batch, type ResultsOf, type Statements } from '../../db/batch.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import type { Change } from './open-change.ts'

/** Raised where a user's session ended after the request was let in, and before it could act. */
export class SessionEnded extends Error {
  override readonly name = 'SessionEnded'
}

/** The named results of a change's statements, and whether the change happened. */
type Committed<Named extends Statements> = ResultsOf<Named> & { readonly happened: boolean }

/**
 * Commits a change: its audit row and these statements, in one transaction.
 * @throws SessionEnded when it did not happen because its author may no longer act
 */
export async function commit<Named extends Statements>(
  change: Change,
  statements: Named,
): Promise<Committed<Named>>
export async function commit(
  { db, once, audit, author }: Change,
  statements: Statements,
): Promise<Committed<Statements>> {
  const results = await batch(db, {
    ...(once ? { once } : {}),
    audit,
    ...(author ? { author } : {}),
    ...statements,
  })
  const happened = results.audit.length > 0
  if (!happened && author && isEmpty(results['author'])) throw new SessionEnded()
  return { ...results, happened }
}

function isEmpty(rows: unknown): boolean {
  return Array.isArray(rows) && rows.length === 0
}

/**
 * Commits a change, then evicts what this isolate remembers of its subject (an owner's, a device's
 * or a key's id). It evicts even if the commit throws, because the commit may have succeeded and
 * only its answer been lost. It does not evict if nothing happened; otherwise anyone could flush
 * the cache with made-up ids, or with a name that is taken.
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
  } catch (thrown) {
    mayHaveHappened = !isRefusal(thrown)
    throw thrown
  } finally {
    if (mayHaveHappened) change.ctx.isolate.evict(subject)
  }
}

/** Whether an error says that nothing was committed: a refused author, a violated constraint. */
function isRefusal(thrown: unknown): boolean {
  return thrown instanceof SessionEnded || violatedUniqueColumn(thrown) !== undefined
}

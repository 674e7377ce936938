import type { BatchItem } from 'drizzle-orm/batch'
import type { Database } from './client.ts'

/** Statements by name, in the order in which they run. */
export type Statements = Readonly<Record<string, BatchItem<'sqlite'>>>

export type ResultsOf<Named extends Statements> = {
  readonly [Name in keyof Named]: Named[Name]['_']['result']
}

/**
 * Runs statements in one transaction, and names their results: all of them happen, or none.
 * @example
 *     const { audit, updated } = await batch(db, { audit: …, updated: … })
 */
export async function batch<Named extends Statements>(
  db: Database,
  statements: Named,
): Promise<ResultsOf<Named>>
export async function batch(
  db: Database,
  statements: Statements,
): Promise<Readonly<Record<string, unknown>>> {
  const [first, ...rest] = Object.values(statements)
  if (first === undefined) return {}
  const results = await db.batch([first, ...rest])
  return Object.fromEntries(Object.keys(statements).map((name, index) => [name, results[index]]))
}

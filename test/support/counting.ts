import { tapDatabase } from './tapping.ts'

/** The statements that ran through a wrapped database, as SQL text. */
export type CountedStatements = { readonly statements: string[]; readonly database: D1Database }

/** Wraps a database so that every statement it runs is noted, one by one also in a batch. */
export function countStatements(database: D1Database): CountedStatements {
  const statements: string[] = []
  const counted = tapDatabase(database, async (texts, run) => {
    statements.push(...texts)
    return await run()
  })
  return { statements, database: counted }
}

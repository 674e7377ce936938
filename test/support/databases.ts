import { env } from 'cloudflare:workers'
import { type CountedStatements, countStatements } from './counting.ts'
import { D1_MESSAGE, withFailingDatabase } from './environments.ts'

/** The tests' environment with a database in which `act` happens right before the next commits. */
export function withRace(act: () => Promise<void>): Env {
  return withBatches(async (commit) => {
    await act()
    return await commit()
  })
}

/** The tests' environment with a database that commits a change, and whose answer is then lost. */
export function withLostAnswers(): Env {
  return withBatches(async (commit) => {
    await commit()
    throw new Error(D1_MESSAGE)
  })
}

/** A database that fails every statement, and notes each as it is asked for. */
export function countFailures(): CountedStatements {
  return countStatements(withFailingDatabase().DB)
}

function withBatches(around: (commit: () => Promise<unknown>) => Promise<unknown>): Env {
  const database = new Proxy(env.DB, {
    get(target, property) {
      if (property === 'batch') {
        return async (statements: D1PreparedStatement[]) =>
          await around(async () => await target.batch(statements))
      }
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { ...env, DB: database }
}

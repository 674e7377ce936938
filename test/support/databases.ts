import { env } from 'cloudflare:workers'
import { type CountedStatements, countStatements } from './counting.ts'
import { D1_MESSAGE, withFailingDatabase } from './environments.ts'
import { tapDatabase } from './tapping.ts'

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
  const database = tapDatabase(env.DB, async (texts, run) =>
    texts.length > 1 ? await around(run) : await run(),
  )
  return { ...env, DB: database }
}

/** What becomes of one call to D1. */
export type Fault = 'answer lost' | 'failed' | 'delayed' | 'hanging'

/**
 * The tests' environment with a database whose call of this number, from 0, meets a fault; all
 * others are as they are.
 */
export function withFaultAt(fault: Fault, index: number): { env: Env; calls: () => number } {
  let calls = 0
  const database = tapDatabase(env.DB, async (_, run) => {
    calls += 1
    if (calls - 1 !== index) return await run()
    switch (fault) {
      case 'answer lost':
        await run()
        throw new Error(D1_MESSAGE)
      case 'failed':
        throw new Error(D1_MESSAGE)
      case 'delayed':
        await scheduler.wait(50)
        return await run()
      case 'hanging':
        return await new Promise(() => undefined)
    }
  })
  return { env: { ...env, DB: database }, calls: () => calls }
}

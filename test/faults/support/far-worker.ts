import worker from '../../../src/index.ts'

export * from '../../../src/index.ts'

/** How long a trip to the database takes at most, each way: as in production. */
const TRIP_MS = 12

/**
 * Latchkey, with a database as far away as in production. On one machine a commit takes so little
 * time that hardly a kill comes between it and its answer, or before a write that nobody awaits.
 */
export default {
  fetch: async (request, env, context) =>
    await worker.fetch(request, { ...env, DB: farAway(env.DB) }, context),
} satisfies ExportedHandler<Env>

/** Every change is a batch. */
function farAway(database: D1Database): D1Database {
  return new Proxy(database, {
    get(target, property) {
      if (property === 'batch') {
        return async (statements: D1PreparedStatement[]) => {
          await trip()
          const results = await target.batch(statements)
          await trip()
          return results
        }
      }
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

async function trip(): Promise<void> {
  await scheduler.wait(Math.random() * TRIP_MS)
}

import { env } from 'cloudflare:workers'
import { thisIsolate } from '../../src/isolate/state.ts'

export const D1_MESSAGE = 'D1_ERROR: Network connection lost.'

/** A limiter that allows so many charges of each key, and no more; `charged` lists the keys. */
export function fakeLimiter(limit: number): RateLimit & { readonly charged: string[] } {
  const charged: string[] = []
  return {
    charged,
    limit: ({ key }) => {
      charged.push(key)
      return Promise.resolve({ success: charged.filter((other) => other === key).length <= limit })
    },
  }
}

/** The tests' environment with a database that fails every statement, as an outage does. */
export function withFailingDatabase(): Env {
  return { ...env, DB: new Proxy(env.DB, { get: failingMember }) }
}

function failingMember(database: D1Database, property: string | symbol): unknown {
  if (property === 'batch' || property === 'exec') return fail
  if (property !== 'prepare') return Reflect.get(database, property, database)
  return (text: string) => failingStatement(database.prepare(text))
}

function failingStatement(statement: D1PreparedStatement): D1PreparedStatement {
  return new Proxy(statement, {
    get: (target, property) =>
      property === 'bind'
        ? (...values: unknown[]) => failingStatement(target.bind(...values))
        : fail,
  })
}

function fail(): Promise<never> {
  return Promise.reject(new Error(D1_MESSAGE))
}

/** The tests' environment with device states that do not answer. */
export function withFailingDeviceStates(): Env {
  const stub = new Proxy(env.DEVICE_STATE.getByName('any'), {
    get: () => () => Promise.reject(new Error('Network connection lost.')),
  })
  const states = new Proxy(env.DEVICE_STATE, {
    get: (target, property) =>
      property === 'get' || property === 'getByName'
        ? () => stub
        : Reflect.get(target, property, target),
  })
  return { ...env, DEVICE_STATE: states }
}

/** Ends the pause after a failure, in which this isolate asks D1 once a second. */
export function endOutage(): void {
  thisIsolate.outage.noteAnswer()
}

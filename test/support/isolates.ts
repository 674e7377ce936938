import { env } from 'cloudflare:workers'
import { IsolateState, thisIsolate } from '../../src/isolate/state.ts'
import type { KeyCache } from '../../src/isolate/key-cache.ts'
import type { VerifyContext } from '../../src/services/context.ts'
import {
  type Verification,
  verifyKey,
  type VerifyRequest,
} from '../../src/services/verify/verify-key.ts'
import { loadSettings } from '../../src/settings.ts'
import { countStatements } from './counting.ts'

/** Where a service looks, as a request of this isolate's would have it. */
export function contextAt(now = Date.now(), given: Partial<VerifyContext> = {}): VerifyContext {
  const { DB: database, DEVICE_STATE: states } = env
  return { database, states, settings: loadSettings(env), isolate: thisIsolate, now, ...given }
}

/** One isolate's worth of state over the tests' D1, with a clock of the test's own. */
export type Isolate = {
  readonly state: IsolateState
  readonly cache: KeyCache
  /** The statements that this isolate ran. */
  readonly statements: string[]
  /** Another database from here on: an outage, a hung one. */
  database: D1Database
  /** Other device states from here on. */
  states: Env['DEVICE_STATE']
  /** Milliseconds. */
  now: number
  verify: (presented: string, request?: Partial<VerifyRequest>) => Promise<Verification>
  /** `valid`, the denial, or `throttled`. */
  codeOf: (presented: string, request?: Partial<VerifyRequest>) => Promise<string>
}

export function makeIsolate(now: number, settings = loadSettings(env)): Isolate {
  const { database, statements } = countStatements(env.DB)
  const state = new IsolateState()
  const isolate: Isolate = {
    state,
    cache: state.keys,
    statements,
    database,
    states: env.DEVICE_STATE,
    now,
    verify: async (presented, request = {}) => {
      const { database, now, states } = isolate
      const ctx = { database, states, settings, now, isolate: state }
      return await verifyKey(ctx, { presented, owner: 'any', ...request })
    },
    codeOf: async (presented, request) => {
      const verified = await isolate.verify(presented, request)
      if (verified.valid) return 'valid'
      return verified.kind === 'denied' ? verified.denial : verified.kind
    },
  }
  return isolate
}

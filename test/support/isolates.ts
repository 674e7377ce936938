import { env } from 'cloudflare:workers'
import { type IsolateState, makeIsolateState } from '../../src/isolate/state.ts'
import type { KeyCache } from '../../src/isolate/key-cache.ts'
import {
  type Verification,
  verifyKey,
  type VerifyRequest,
} from '../../src/services/verify/verify-key.ts'
import { loadSettings } from '../../src/settings.ts'
import { countStatements } from './counting.ts'

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
  /** `valid`, or the denial. */
  codeOf: (presented: string, request?: Partial<VerifyRequest>) => Promise<string>
}

export function makeIsolate(now: number, settings = loadSettings(env)): Isolate {
  const { database, statements } = countStatements(env.DB)
  const state = makeIsolateState()
  const isolate: Isolate = {
    state,
    cache: state.cache,
    statements,
    database,
    states: env.DEVICE_STATE,
    now,
    verify: async (presented, request = {}) => {
      const { database, now, states } = isolate
      const world = { database, states, settings, now, isolate: state }
      return await verifyKey(world, { presented, ...request })
    },
    codeOf: async (presented, request) => {
      const verified = await isolate.verify(presented, request)
      return verified.valid ? 'valid' : verified.denial
    },
  }
  return isolate
}

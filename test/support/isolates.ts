import { env } from 'cloudflare:workers'
import { KeyCache } from '../../src/edge/key-cache.ts'
import { type Verification, verifyKey, type VerifyRequest } from '../../src/services/verify.ts'
import { loadSettings } from '../../src/settings.ts'
import { countStatements } from './counting.ts'

/** One isolate's worth of state over the tests' D1, with a clock of the test's own. */
export type Isolate = {
  readonly cache: KeyCache
  /** The statements that this isolate ran. */
  readonly statements: string[]
  /** Another database from here on: an outage, a hung one. */
  database: D1Database
  /** Milliseconds. */
  now: number
  verify: (presented: string, request?: Partial<VerifyRequest>) => Promise<Verification>
  /** `valid`, or the denial. */
  codeOf: (presented: string, request?: Partial<VerifyRequest>) => Promise<string>
}

export function makeIsolate(now: number, settings = loadSettings(env)): Isolate {
  const { database, statements } = countStatements(env.DB)
  const isolate: Isolate = {
    cache: new KeyCache(),
    statements,
    database,
    now,
    verify: async (presented, request = {}) => {
      const { cache, database, now } = isolate
      return await verifyKey({ database, settings, now, cache }, { presented, ...request })
    },
    codeOf: async (presented, request) => {
      const verified = await isolate.verify(presented, request)
      return verified.valid ? 'valid' : verified.denial
    },
  }
  return isolate
}

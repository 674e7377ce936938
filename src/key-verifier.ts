import { WorkerEntrypoint } from 'cloudflare:workers'
import { Unavailable } from './domain/unavailable.ts'
import { logFailure } from './http/log.ts'
import { verifyFor, type VerifyResult } from './services/verify-for.ts'
import { loadSettings } from './settings.ts'

export type VerifyOptions = {
  /** Literal scopes, all of which the key must cover. */
  readonly scopes?: readonly string[]
  /** Skip the cache: the answer is D1's, or `unavailable`. */
  readonly fresh?: boolean
  /** Only this owner's keys count; another's is `not_found`. */
  readonly owner?: string
}

/** Nothing could be decided: try again after so many seconds. It says nothing about the key. */
export type VerifyUnavailable = {
  readonly valid: false
  readonly code: 'unavailable'
  readonly retry_after: number
}

const RETRY_AFTER_SECONDS = 5

/** The door for other Workers of the account: a service binding, without HTTP and without a key. */
export class KeyVerifier extends WorkerEntrypoint<Env> {
  /** Decides as every door does. It never throws. */
  async verify(
    presented: string,
    options: VerifyOptions = {},
  ): Promise<VerifyResult | VerifyUnavailable> {
    const { scopes = [], fresh = false, owner } = options
    // The types end at the service binding: what comes over it may be anything.
    if (typeof presented !== 'string') return { valid: false, code: 'not_found' }
    try {
      const settings = loadSettings(this.env)
      const world = { database: this.env.DB, settings, now: Date.now() }
      return await verifyFor(owner, world, { presented, scopes, fresh })
    } catch (failure) {
      if (!(failure instanceof Unavailable)) logFailure('rpc', failure)
      return { valid: false, code: 'unavailable', retry_after: RETRY_AFTER_SECONDS }
    }
  }
}

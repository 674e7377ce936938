import { WorkerEntrypoint } from 'cloudflare:workers'
import { COST_MAX } from './domain/meter.ts'
import { isLiteralScope } from './domain/scopes.ts'
import { RETRY_AFTER_SECONDS, Unavailable } from './domain/unavailable.ts'
import { logFailure, logRpcDenial } from './http/log.ts'
import { noteOutage } from './isolate/sampled-log.ts'
import { verifyFor, type VerifyResult } from './services/verify/verify-result.ts'
import { loadSettings } from './settings.ts'

export type VerifyOptions = {
  /** Literal scopes, all of which the key must cover. */
  readonly scopes?: readonly string[]
  /** What a limited key is charged, 0 to 1000; 0 asks without spending. 1 unless said. */
  readonly cost?: number
  /** Skip the cache: the answer is D1's, or `unavailable`. */
  readonly fresh?: boolean
  /** The only audience of a device token that counts; another's is `not_found`. */
  readonly audience?: string
  /** Only this owner's keys count; another's is `not_found`. */
  readonly owner?: string
}

/** Nothing could be decided: try again after so many seconds. It says nothing about the key. */
export type VerifyUnavailable = {
  readonly valid: false
  readonly code: 'unavailable'
  readonly retry_after: number
}

/** The door for other Workers of the account: a service binding, without HTTP and without a key. */
export class KeyVerifier extends WorkerEntrypoint<Env> {
  /**
   * Decides as every door does. It never throws: options that are not of their types are logged,
   * and answered with `unavailable`.
   */
  async verify(
    presented: string,
    options: VerifyOptions = {},
  ): Promise<VerifyResult | VerifyUnavailable> {
    // The types end at the service binding: what comes over it may be anything.
    if (typeof presented !== 'string') return { valid: false, code: 'not_found' }
    try {
      const { owner: ownerId, ...asked } = checked(options)
      const settings = loadSettings(this.env)
      const { DB: database, DEVICE_STATE: states } = this.env
      const world = { database, states, settings, now: Date.now() }
      const result = await verifyFor(world, { presented, ...asked, ownerId })
      if (!result.valid) {
        const whose = { device: result.device?.id, key: result.key?.id }
        logRpcDenial(result.code, whose, world.now)
      }
      return result
    } catch (failure) {
      if (failure instanceof Unavailable) noteOutage('rpc-unavailable', Date.now())
      else logFailure('rpc', failure)
      return { valid: false, code: 'unavailable', retry_after: RETRY_AFTER_SECONDS }
    }
  }
}

/** @throws TypeError naming the option that is not of its type */
function checked(options: VerifyOptions) {
  const { scopes = [], cost = 1, fresh = false, audience, owner } = options
  if (!Array.isArray(scopes) || !scopes.every(isAskable)) throw new InvalidOption('scopes')
  if (!Number.isInteger(cost) || cost < 0 || cost > COST_MAX) throw new InvalidOption('cost')
  if (typeof fresh !== 'boolean') throw new InvalidOption('fresh')
  if (!isOptionalText(audience)) throw new InvalidOption('audience')
  if (!isOptionalText(owner)) throw new InvalidOption('owner')
  return { scopes, cost, fresh, audience, owner }
}

function isOptionalText(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string'
}

function isAskable(scope: unknown): scope is string {
  return typeof scope === 'string' && isLiteralScope(scope)
}

class InvalidOption extends TypeError {
  constructor(name: keyof VerifyOptions) {
    super(`verify: ${name} is not valid`)
    this.name = `InvalidOption(${name})`
  }
}

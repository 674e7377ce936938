import { WorkerEntrypoint } from 'cloudflare:workers'
import { COST_MAX } from './domain/meter.ts'
import { isLiteralScope, SCOPES_MAX } from './domain/scopes.ts'
import { RETRY_AFTER_SECONDS } from './domain/unavailable.ts'
import { logFailure, logRpcDenial } from './http/log.ts'
import { thisIsolate } from './isolate/state.ts'
import { diagnose } from './services/health.ts'
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
    const now = Date.now()
    const isolate = thisIsolate
    isolate.startedAt ??= now
    try {
      const { owner: ownerId, ...asked } = checked(options)
      const { DB: database, DEVICE_STATE: states } = this.env
      const ctx = { database, states, settings: loadSettings(this.env), isolate, now }
      const result = await verifyFor(ctx, { presented, ...asked, ownerId })
      // Only callers from outside the account are throttled.
      if (!result.ok) return UNAVAILABLE
      const { value: answer } = result
      if (!answer.valid) {
        const whose = { device: answer.device?.id, key: answer.key?.id }
        logRpcDenial(isolate, answer.code, whose, now)
      }
      return answer
    } catch (failure) {
      const code = await diagnose(this.env.DB, failure)
      if (code === 'unavailable') isolate.log.note('rpc-unavailable', Date.now())
      else logFailure('rpc', failure, code)
      return UNAVAILABLE
    }
  }
}

const UNAVAILABLE: VerifyUnavailable = {
  valid: false,
  code: 'unavailable',
  retry_after: RETRY_AFTER_SECONDS,
}

const OPTIONS: ReadonlySet<string> = new Set([
  'scopes',
  'cost',
  'fresh',
  'audience',
  'owner',
] satisfies (keyof VerifyOptions)[])

/**
 * Holds options to what HTTP takes. An unknown one is refused: a misspelt `scopes` must not let
 * everything pass.
 * @throws InvalidOption naming the option that is not of its type
 */
function checked(options: unknown) {
  if (typeof options !== 'object' || options === null) throw new InvalidOption('options')
  if (Object.getPrototypeOf(options) !== Object.prototype) throw new InvalidOption('options')
  if (!Object.keys(options).every((name) => OPTIONS.has(name))) throw new InvalidOption('options')
  const { scopes = [], cost = 1, fresh = false, audience, owner }: Unchecked = options
  if (!Array.isArray(scopes) || scopes.length > SCOPES_MAX || !scopes.every(isAskable)) {
    throw new InvalidOption('scopes')
  }
  if (!isCost(cost)) throw new InvalidOption('cost')
  if (typeof fresh !== 'boolean') throw new InvalidOption('fresh')
  if (!isOptionalText(audience)) throw new InvalidOption('audience')
  if (!isOptionalText(owner)) throw new InvalidOption('owner')
  return { scopes, cost, fresh, audience, owner }
}

type Unchecked = { readonly [Option in keyof VerifyOptions]?: unknown }

function isCost(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= COST_MAX
}

function isOptionalText(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value !== '')
}

function isAskable(scope: unknown): scope is string {
  return typeof scope === 'string' && isLiteralScope(scope)
}

class InvalidOption extends TypeError {
  constructor(name: keyof VerifyOptions | 'options') {
    super(`verify: ${name} is not valid`)
    this.name = `InvalidOption(${name})`
  }
}

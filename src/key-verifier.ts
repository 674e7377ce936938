import { WorkerEntrypoint } from 'cloudflare:workers'
import { RETRY_AFTER_SECONDS } from './domain/unavailable.ts'
import { logFailure, logRpcDenial } from './http/log.ts'
import { thisIsolate } from './isolate/state.ts'
import { diagnose } from './services/health.ts'
import type { VerifyRequest } from './services/verify/verify-key.ts'
import { verifyFor, type VerifyResult } from './services/verify/verify-result.ts'
import { loadSettings } from './settings.ts'
import { readVerifyOptions, type VerifyOptions } from './verify-options.ts'

/** Nothing could be decided: try again after so many seconds. It says nothing about the key. */
export type VerifyUnavailable = {
  readonly valid: false
  readonly code: 'unavailable'
  readonly retry_after: number
}

/** The options are wrong, and nothing was decided: `detail` says what to write. */
export type VerifyMisconfigured = {
  readonly valid: false
  readonly code: 'misconfigured'
  readonly detail: string
}

/** The door for other Workers of the account: a service binding, without HTTP and without a key. */
export class KeyVerifier extends WorkerEntrypoint<Env> {
  /**
   * Decides as every door does. It never throws: options that are not of their types are answered
   * with `misconfigured`.
   * @example
   *     const options = { owner: env.OWNER_ID, scopes: ['telemetry:write'] }
   *     const verified = await env.KEYS.verify(secret, options)
   *     if (verified.valid) console.info(verified.device.id)
   */
  async verify(
    presented: string,
    options: VerifyOptions,
  ): Promise<VerifyResult | VerifyUnavailable | VerifyMisconfigured> {
    // The types end at the service binding: what comes over it may be anything.
    const asked = readVerifyOptions(options)
    if (!asked.ok) {
      thisIsolate.log.note('rpc-misconfigured', Date.now())
      return { valid: false, code: 'misconfigured', detail: asked.reason }
    }
    if (typeof presented !== 'string') return { valid: false, code: 'not_found' }
    return await decide(this.env, { presented, ...asked.value })
  }
}

const UNAVAILABLE: VerifyUnavailable = {
  valid: false,
  code: 'unavailable',
  retry_after: RETRY_AFTER_SECONDS,
}

async function decide(env: Env, request: VerifyRequest): Promise<VerifyResult | VerifyUnavailable> {
  const now = Date.now()
  const isolate = thisIsolate
  isolate.startedAt ??= now
  try {
    const { DB: database, DEVICE_STATE: states } = env
    const ctx = { database, states, settings: loadSettings(env), isolate, now }
    const result = await verifyFor(ctx, request)
    // Only callers from outside the account are throttled.
    if (!result.ok) return UNAVAILABLE
    const { value: answer } = result
    if (!answer.valid) {
      const whose = { device: answer.device?.id, key: answer.key?.id }
      logRpcDenial(isolate, answer.code, whose, now)
    }
    return answer
  } catch (failure) {
    const code = await diagnose(env.DB, failure)
    if (code === 'unavailable') isolate.log.note('rpc-unavailable', Date.now())
    else logFailure('rpc', failure, code)
    return UNAVAILABLE
  }
}

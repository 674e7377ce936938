import type { MeterDecision } from '../../domain/meter.ts'
import { type Credential, type Verification, verifyKey } from '../../services/verify/verify-key.ts'
import type { AppContext } from '../env.ts'
import { type Form, oauthError, readClientCredentials } from '../form.ts'
import { noteDenial, retryAfter } from '../problem.ts'
import { callerOf, worldOf } from './require-device.ts'

/** A device that has authenticated as an OAuth client, with its secret. */
export type Client = {
  readonly policy: Extract<Verification, { valid: true }>['policy']
  readonly credential: Extract<Credential, { kind: 'secret' }>
}

/**
 * Authenticates an OAuth client (RFC 6749 §2.3.1): its id is its device's, its secret the device's.
 * D1 itself is asked. Whatever is wrong with the client, the answer is `invalid_client`.
 * @param cost what a limited client is charged: nothing, unless it authenticates to ask about others
 */
export async function authenticateClient(
  c: AppContext,
  form: Form,
  cost = 0,
): Promise<Client | Response> {
  const presented = readClientCredentials(c.req.raw.headers, form)
  if (!presented.ok && presented.reason === 'several') {
    return oauthError(c, 400, 'invalid_request', 'more than one client authentication')
  }
  if (!presented.ok) return invalidClient(c)

  const { id, secret } = presented.value
  const request = { presented: secret, cost, fresh: true, caller: callerOf(c) }
  const verified = await verifyKey(worldOf(c), request)
  c.var.log.deviceId = verified.policy?.device.id
  c.var.log.keyId = verified.policy?.key.id
  if (!verified.valid) {
    noteDenial(c, verified.denial)
    const isLimit = verified.denial === 'rate_limited' || verified.denial === 'quota_exceeded'
    return isLimit ? tooMany(c, verified.meter) : invalidClient(c)
  }
  const { policy, credential } = verified
  const isItsOwn = credential.kind === 'secret' && policy.device.id === id
  return isItsOwn ? { policy, credential } : invalidClient(c)
}

/**
 * Which client speaks, where one without a secret may, too (RFC 8628 §3.1, §3.4): the one that
 * authenticates, beside whose Basic header its client_id is no second credential; else whoever it
 * says.
 */
export async function readClientId(
  c: AppContext,
  form: Form,
): Promise<Response | string | undefined> {
  const isSilent = c.req.header('authorization') === undefined && !form.has('client_secret')
  if (isSilent) return form.get('client_id')
  const client = await authenticateClient(c, form)
  return client instanceof Response ? client : client.policy.device.id
}

/** Answers a caller who is over a limit of its own, or presents too many unknown secrets. */
export function tooMany(c: AppContext, meter: MeterDecision | null): Response {
  const wait = { 'Retry-After': retryAfter(meter, Date.now()) }
  return oauthError(c, 429, 'slow_down', 'too many requests', wait)
}

function invalidClient(c: AppContext): Response {
  const challenge = { 'WWW-Authenticate': 'Basic realm="latchkey"' }
  return oauthError(c, 401, 'invalid_client', 'the client could not be authenticated', challenge)
}

import { type Credential, type Verification, verifyKey } from '../../services/verify.ts'
import type { AppContext } from '../env.ts'
import { type Form, oauthError, readClientCredentials } from '../oauth.ts'
import { noteDenial } from '../problem.ts'
import { callerOf, worldOf } from './require-device.ts'

/** A device that has authenticated as an OAuth client, with its secret. */
export type Client = {
  readonly policy: Extract<Verification, { valid: true }>['policy']
  readonly credential: Extract<Credential, { kind: 'secret' }>
}

/**
 * Authenticates an OAuth client (RFC 6749 §2.3.1): its id is its device's, its secret the device's.
 * D1 itself is asked. Whatever is wrong with the client, the answer is `invalid_client`.
 */
export async function authenticateClient(c: AppContext, form: Form): Promise<Client | Response> {
  const presented = readClientCredentials(c.req.raw.headers, form)
  if (!presented.ok && presented.reason === 'several') {
    return oauthError(c, 400, 'invalid_request', 'more than one client authentication')
  }
  if (!presented.ok) return invalidClient(c)

  const { id, secret } = presented.value
  const request = { presented: secret, cost: 0, fresh: true, caller: callerOf(c) }
  const verified = await verifyKey(worldOf(c), request)
  c.var.log.deviceId = verified.policy?.device.id
  c.var.log.keyId = verified.policy?.key.id
  if (!verified.valid) {
    noteDenial(c, verified.denial)
    if (verified.denial === 'rate_limited' && verified.policy === null) {
      const wait = { 'Retry-After': '60' }
      return oauthError(c, 429, 'invalid_client', 'too many unknown secrets', wait)
    }
    return invalidClient(c)
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

function invalidClient(c: AppContext): Response {
  const challenge = { 'WWW-Authenticate': 'Basic realm="latchkey"' }
  return oauthError(c, 401, 'invalid_client', 'the client could not be authenticated', challenge)
}

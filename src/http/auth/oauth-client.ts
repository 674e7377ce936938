import { type ClaimClient, isDeviceIdShaped } from '../../domain/claim-poll.ts'
import { isTokenShaped } from '../../domain/device-token.ts'
import type { MeterDecision } from '../../domain/meter.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { VERIFY_OWN } from '../../domain/scopes.ts'
import type { VerifyContext } from '../../services/context.ts'
import type {
  Credential,
  Denied,
  Throttled,
  Verified,
  VerifyRequest,
} from '../../services/verify/verify-key.ts'
import type { AppContext } from '../env.ts'
import type { Form } from '../form.ts'
import { retryAfter } from '../limit-headers.ts'
import { noteDenial } from '../log.ts'
import { oauthError } from '../oauth-error.ts'
import { problem } from '../problem.ts'
import { admit } from './admit.ts'
import { type ClientCredentials, readClientCredentials } from './client-credentials.ts'
import { CREDENTIAL } from './doors.ts'
import { verifyPresented } from './verify-presented.ts'

/** A device that has authenticated as an OAuth client, with its secret. */
type Client = {
  readonly ctx: VerifyContext
  readonly policy: Verified['policy']
  readonly credential: Extract<Credential, { kind: 'secret' }>
}

/**
 * Authenticates an OAuth client (RFC 6749 §2.3.1). Its id and its secret are those of its device.
 * D1 itself is asked. Whatever is wrong with the client, the answer is `invalid_client`; only a
 * client that may not ask about others, and wants to, is told so.
 * @param asked how the secret is verified; it costs 0, as a question does, unless said
 */
export async function authenticateClient(
  c: AppContext,
  form: Form,
  asked: Pick<VerifyRequest, 'asVerifier' | 'isUse' | 'cost'> = {},
): Promise<Result<Client, Response>> {
  const presented = readClientCredentials(c.req.raw.headers, form)
  if (!presented.ok && presented.reason === 'several') {
    return err(oauthError(c, 400, 'invalid_request', 'more than one client authentication'))
  }
  if (!presented.ok) return err(invalidClient(c))

  const { id, secret } = presented.value
  const request = { owner: 'any', isUse: true, cost: 0, ...asked, fresh: true }
  const ctx = admit(c, CREDENTIAL)
  const verified = await verifyPresented(c, ctx, secret, request)
  if (!verified.valid) return err(refusalOf(c, verified, presented.value))
  const { policy, credential } = verified
  const isItsOwn = credential.kind === 'secret' && policy.device.id === id
  return isItsOwn ? ok({ ctx, policy, credential }) : err(invalidClient(c))
}

function refusalOf(
  c: AppContext,
  refusal: Denied | Throttled,
  { id, secret }: ClientCredentials,
): Response {
  if (refusal.kind === 'throttled') return tooMany(c, null)
  const { denial, policy, meter } = refusal
  noteDenial(c, denial)
  // Only a client that has authenticated is told that it lacks a scope.
  const isItself = policy?.device.id === id && !isTokenShaped(secret)
  if (denial === 'insufficient_scope' && isItself) return insufficientScope(c)
  return meter === null ? invalidClient(c) : tooMany(c, meter)
}

/**
 * Reads the client on endpoints that also accept public clients (RFC 8628 §3.1, §3.4). If the
 * request authenticates, its id is the authenticated device's; a matching `client_id` field is
 * allowed. Otherwise it is the unverified `client_id` field, which may not look like a device's id.
 */
export async function readClient(
  c: AppContext,
  form: Form,
): Promise<Result<ClaimClient | undefined, Response>> {
  const isSilent = c.req.header('authorization') === undefined && !form.has('client_secret')
  if (isSilent) {
    const clientId = form.get('client_id')
    if (clientId === undefined) return ok(undefined)
    if (isDeviceIdShaped(clientId)) return err(invalidClient(c))
    return ok({ clientId, clientDeviceId: null })
  }
  const client = await authenticateClient(c, form)
  if (!client.ok) return client
  const { id } = client.value.policy.device
  return ok({ clientId: id, clientDeviceId: id })
}

/**
 * Answers a caller that is over a limit of its own, or presents too many unknown secrets.
 * @param meter null: the latter
 */
export function tooMany(c: AppContext, meter: MeterDecision | null): Response {
  if (meter === null) c.var.log.subject = 'made-up'
  const headers = meter === null ? {} : { 'Retry-After': retryAfter(meter, c.var.now) }
  // Not slow_down, which answers an early poll and nothing else (RFC 8628 §3.5).
  return problem(c, 'rate_limited', { headers })
}

/** Answers a client that has not authenticated as it must. */
export function invalidClient(c: AppContext): Response {
  const challenge = { 'WWW-Authenticate': 'Basic realm="latchkey"' }
  return oauthError(c, 401, 'invalid_client', 'the client could not be authenticated', challenge)
}

/** Answers a caller that may not ask about others. */
export function insufficientScope(c: AppContext): Response {
  const challenge = `Bearer realm="latchkey", error="insufficient_scope", scope="${VERIFY_OWN}"`
  const headers = { 'WWW-Authenticate': challenge }
  return oauthError(c, 403, 'insufficient_scope', `the key does not hold ${VERIFY_OWN}`, headers)
}

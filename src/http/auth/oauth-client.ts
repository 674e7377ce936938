import type { MeterDecision } from '../../domain/meter.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { Credential, Denied, Throttled, Verified } from '../../services/verify/verify-key.ts'
import type { AppContext } from '../env.ts'
import type { Form } from '../form.ts'
import { retryAfter } from '../limit-headers.ts'
import { noteDenial } from '../log.ts'
import { oauthError } from '../oauth-error.ts'
import { LIMIT_WINDOW_SECONDS } from '../problem.ts'
import { readClientCredentials } from './client-credentials.ts'
import { verifyPresented } from './verify-presented.ts'

/** A device that has authenticated as an OAuth client, with its secret. */
export type Client = {
  readonly policy: Verified['policy']
  readonly credential: Extract<Credential, { kind: 'secret' }>
}

/**
 * Authenticates an OAuth client (RFC 6749 §2.3.1): its id is its device's, its secret the device's.
 * D1 itself is asked. Whatever is wrong with the client, the answer is `invalid_client`; only a
 * client that may not ask about others, and wants to, is told so.
 * @param asked `asVerifier` of one that asks about others, which is charged for that
 */
export async function authenticateClient(
  c: AppContext,
  form: Form,
  asked: { readonly asVerifier?: boolean } = {},
): Promise<Result<Client, Response | 'insufficient_scope'>> {
  const presented = readClientCredentials(c.req.raw.headers, form)
  if (!presented.ok && presented.reason === 'several') {
    return err(oauthError(c, 400, 'invalid_request', 'more than one client authentication'))
  }
  if (!presented.ok) return err(invalidClient(c))

  const { id, secret } = presented.value
  const cost = asked.asVerifier === true ? 1 : 0
  const verified = await verifyPresented(c, secret, { ...asked, cost, fresh: true })
  if (!verified.valid) return err(refusalOf(c, verified))
  const { policy, credential } = verified
  const isItsOwn = credential.kind === 'secret' && policy.device.id === id
  return isItsOwn ? ok({ policy, credential }) : err(invalidClient(c))
}

function refusalOf(c: AppContext, refusal: Denied | Throttled): Response | 'insufficient_scope' {
  if (refusal.kind === 'throttled') return tooMany(c, null)
  const { denial, meter } = refusal
  noteDenial(c, denial)
  if (denial === 'insufficient_scope') return denial
  return meter === null ? invalidClient(c) : tooMany(c, meter)
}

/**
 * Reads the client id on endpoints that also accept public clients (RFC 8628 §3.1, §3.4). If the
 * request authenticates, the id is the authenticated device's; a matching `client_id` field is
 * allowed. Otherwise it is the unverified `client_id` field.
 */
export async function readClientId(
  c: AppContext,
  form: Form,
): Promise<Result<string | undefined, Response>> {
  const isSilent = c.req.header('authorization') === undefined && !form.has('client_secret')
  if (isSilent) return ok(form.get('client_id'))
  const client = await requireClient(c, form)
  return client.ok ? ok(client.value.policy.device.id) : client
}

/** Authenticates a client that asks nothing about others. */
export async function requireClient(c: AppContext, form: Form): Promise<Result<Client, Response>> {
  const client = await authenticateClient(c, form)
  if (client.ok) return client
  return err(client.reason === 'insufficient_scope' ? invalidClient(c) : client.reason)
}

/**
 * Answers a caller that is over a limit of its own, or presents too many unknown secrets.
 * @param meter null: the latter
 */
export function tooMany(c: AppContext, meter: MeterDecision | null): Response {
  if (meter === null) c.var.log.subject = 'made-up'
  const wait = meter === null ? String(LIMIT_WINDOW_SECONDS) : retryAfter(meter, c.var.now)
  return oauthError(c, 429, 'slow_down', 'too many requests', { 'Retry-After': wait })
}

function invalidClient(c: AppContext): Response {
  const challenge = { 'WWW-Authenticate': 'Basic realm="latchkey"' }
  return oauthError(c, 401, 'invalid_client', 'the client could not be authenticated', challenge)
}

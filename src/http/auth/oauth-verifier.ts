import { VERIFY_OWN, verifierReach } from '../../domain/scopes.ts'
import { readDeviceCredential } from './credential.ts'
import type { AppContext } from '../env.ts'
import { type Form, oauthError } from '../form.ts'
import { noteDenial } from '../problem.ts'
import { authenticateClient, type Client, tooMany } from './oauth-client.ts'
import { verifyPresented } from './require-device.ts'

/** Who may ask about others: as in POST /v1/keys/verify, by a key, a token or as a client. */
export async function authenticateVerifier(
  c: AppContext,
  form: Form,
): Promise<Response | { readonly ownerId: string | undefined }> {
  const policy = await verifierPolicy(c, form)
  if (policy instanceof Response) return policy
  const reach = verifierReach(policy.key.scopes, policy.owner.role)
  if (reach === undefined) return insufficientScope(c)
  return { ownerId: reach === 'own' ? policy.owner.id : undefined }
}

async function verifierPolicy(c: AppContext, form: Form): Promise<Response | Client['policy']> {
  const isClient = form.has('client_secret') || /^basic /i.test(c.req.header('authorization') ?? '')
  if (isClient) {
    const client = await authenticateClient(c, form, 1)
    return client instanceof Response ? client : client.policy
  }
  const presented = readDeviceCredential(c.req.raw.headers)
  if (!presented.ok) {
    if (presented.reason === 'several') {
      return oauthError(c, 400, 'invalid_request', 'more than one credential')
    }
    return noVerifier(c, presented.reason === 'missing' ? '' : ', error="invalid_token"')
  }
  const verified = await verifyPresented(c, presented.value, { asVerifier: true })
  if (verified.valid) return verified.policy
  const { denial, meter } = verified
  noteDenial(c, denial)
  if (denial === 'insufficient_scope') return insufficientScope(c)
  if (denial !== 'rate_limited' && denial !== 'quota_exceeded') {
    return noVerifier(c, ', error="invalid_token"')
  }
  return tooMany(c, meter)
}

/** @param fault RFC 6750 §3.1: nothing where no token was presented */
function noVerifier(c: AppContext, fault: string): Response {
  const challenge = { 'WWW-Authenticate': `Bearer realm="latchkey"${fault}` }
  return oauthError(c, 401, 'invalid_client', "a verifier's credential is needed", challenge)
}

function insufficientScope(c: AppContext): Response {
  const challenge = `Bearer realm="latchkey", error="insufficient_scope", scope="${VERIFY_OWN}"`
  const headers = { 'WWW-Authenticate': challenge }
  return oauthError(c, 403, 'insufficient_scope', `the key does not hold ${VERIFY_OWN}`, headers)
}

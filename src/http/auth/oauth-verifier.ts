import { err, ok, type Result } from '../../domain/result.ts'
import { verifierReach } from '../../domain/scopes.ts'
import type { Verified } from '../../services/verify/verify-key.ts'
import type { AppContext } from '../env.ts'
import type { Form } from '../form.ts'
import { noteDenial } from '../log.ts'
import { oauthError } from '../oauth-error.ts'
import { readDeviceCredential } from './credential.ts'
import { authenticateClient, insufficientScope, tooMany } from './oauth-client.ts'
import { verifyPresented } from './verify-presented.ts'

/** A verifier of OAuth's kind: whose devices exist for it; undefined: everyone's do. */
type OAuthVerifier = { readonly ownerId: string | undefined }

/**
 * Authenticates a caller that asks about others, as POST /v1/keys/verify does: by a key, by a
 * token, or as a client.
 */
export async function authenticateVerifier(
  c: AppContext,
  form: Form,
): Promise<Result<OAuthVerifier, Response>> {
  const isClient = form.has('client_secret') || /^basic /i.test(c.req.header('authorization') ?? '')
  const authenticated = isClient
    ? await authenticateClient(c, form, { asVerifier: true })
    : await authenticateBearer(c)
  if (!authenticated.ok) return authenticated
  const { key, owner } = authenticated.value.policy
  return ok({ ownerId: verifierReach(key.scopes, owner.role) === 'all' ? undefined : owner.id })
}

async function authenticateBearer(
  c: AppContext,
): Promise<Result<Pick<Verified, 'policy'>, Response>> {
  const presented = readDeviceCredential(c.req.raw.headers)
  if (!presented.ok) {
    if (presented.reason === 'several') {
      return err(oauthError(c, 400, 'invalid_request', 'more than one credential'))
    }
    return err(presented.reason === 'missing' ? nothingPresented(c) : invalidToken(c))
  }
  const verified = await verifyPresented(c, presented.value, { asVerifier: true })
  if (verified.valid) return ok(verified)
  if (verified.kind === 'throttled') return err(tooMany(c, null))
  const { denial, meter } = verified
  noteDenial(c, denial)
  if (denial === 'insufficient_scope') return err(insufficientScope(c))
  return err(meter === null ? invalidToken(c) : tooMany(c, meter))
}

const BEARER = 'Bearer realm="latchkey"'

/** RFC 6750 §3.1: no `error` in the challenge where no token was presented. */
function nothingPresented(c: AppContext): Response {
  const words =
    'A credential is needed: Authorization: Bearer or ApiKey, X-API-Key, or client_id and ' +
    'client_secret.'
  return oauthError(c, 401, 'invalid_client', words, { 'WWW-Authenticate': BEARER })
}

function invalidToken(c: AppContext): Response {
  const challenge = { 'WWW-Authenticate': `${BEARER}, error="invalid_token"` }
  return oauthError(c, 401, 'invalid_client', "a verifier's credential is needed", challenge)
}

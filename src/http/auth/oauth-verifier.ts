import { err, ok, type Result } from '../../domain/result.ts'
import { verifierReach } from '../../domain/scopes.ts'
import type { VerifyContext } from '../../services/context.ts'
import type { Verified } from '../../services/verify/verify-key.ts'
import type { AppContext } from '../env.ts'
import type { Form } from '../form.ts'
import { noteDenial } from '../log.ts'
import { oauthError } from '../oauth-error.ts'
import { admit } from './admit.ts'
import { readDeviceCredential } from './credential.ts'
import { CREDENTIAL } from './doors.ts'
import { authenticateClient, insufficientScope, tooMany } from './oauth-client.ts'
import { verifyPresented } from './verify-presented.ts'

/** A verifier of OAuth's kind, and whose devices it may ask about. */
type OAuthVerifier = {
  readonly ctx: VerifyContext
  readonly reach: 'own' | 'all'
  readonly ownerId: string
}

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
    ? await authenticateClient(c, form, { asVerifier: true, cost: 1 })
    : await authenticateBearer(c)
  if (!authenticated.ok) return authenticated
  const { ctx, policy } = authenticated.value
  const { key, owner } = policy
  return ok({ ctx, reach: verifierReach(key.scopes, owner.role) ?? 'own', ownerId: owner.id })
}

async function authenticateBearer(
  c: AppContext,
): Promise<Result<Pick<Verified, 'policy'> & Pick<OAuthVerifier, 'ctx'>, Response>> {
  const presented = readDeviceCredential(c.req.raw.headers)
  if (!presented.ok) {
    if (presented.reason === 'several') {
      return err(oauthError(c, 400, 'invalid_request', 'more than one credential'))
    }
    return err(presented.reason === 'missing' ? nothingPresented(c) : invalidToken(c))
  }
  const ctx = admit(c, CREDENTIAL)
  const verified = await verifyPresented(c, ctx, presented.value, {
    owner: 'any',
    asVerifier: true,
  })
  if (verified.valid) return ok({ ctx, policy: verified.policy })
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

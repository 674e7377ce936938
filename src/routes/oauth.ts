import type { PollRefusal } from '../domain/claim-poll.ts'
import { isOwner, OWNER_WANTED, ownerFor } from '../domain/owner.ts'
import { narrowsScopes, SCOPES_MAX } from '../domain/scopes.ts'
import { admit } from '../http/auth/admit.ts'
import { auditContextOf } from '../http/auth/contexts.ts'
import { CREDENTIAL, TOKEN_REVOCATION } from '../http/auth/doors.ts'
import {
  authenticateClient,
  invalidClient,
  readClient,
  tooMany,
} from '../http/auth/oauth-client.ts'
import { authenticateVerifier } from '../http/auth/oauth-verifier.ts'
import { verifierOf } from '../http/auth/verify-presented.ts'
import { clientIp } from '../http/client.ts'
import { type AppContext, factory } from '../http/env.ts'
import { type Form, readForm } from '../http/form.ts'
import { oauthError } from '../http/oauth-error.ts'
import { problem } from '../http/problem.ts'
import { redeemClaim } from '../services/claims/redeem-claim.ts'
import { issueDeviceToken } from '../services/keys/issue-device-token.ts'
import { revokeCredential } from '../services/keys/revoke-credential.ts'
import { introspect } from '../services/verify/introspect.ts'
import { verifyKey } from '../services/verify/verify-key.ts'

export const CLIENT_CREDENTIALS = 'client_credentials'
export const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'

/** RFC 6749 §5.1, beside the Cache-Control that every answer has. */
const NO_CACHE = { Pragma: 'no-cache' }

/** OAuth 2.0: a device is a client, its id the client's id, its secret the client's secret. */
export const oauth = factory
  .createApp()
  .post('/oauth/token', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    switch (form.value.get('grant_type')) {
      case undefined:
        return oauthError(c, 400, 'invalid_request', 'grant_type is missing')
      case CLIENT_CREDENTIALS:
        return await grantClientCredentials(c, form.value)
      case DEVICE_CODE:
        return await grantDeviceCode(c, form.value)
      default:
        return oauthError(c, 400, 'unsupported_grant_type', 'see the metadata for those that are')
    }
  })
  .post('/oauth/introspect', async (c) => {
    const form = await readForm(c, ['owner', 'audience'])
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    const verifier = await authenticateVerifier(c, form.value)
    if (!verifier.ok) return verifier.reason
    const presented = form.value.get('token')
    if (presented === undefined) return oauthError(c, 400, 'invalid_request', 'token is missing')
    const { ctx } = verifier.value
    const asked = askedOf(c, form.value)
    const owner = ownerFor(verifier.value, asked.owner)
    if (owner === undefined || (asked.owner !== undefined && !isOwner(asked.owner))) {
      return oauthError(c, 400, 'invalid_request', OWNER_WANTED)
    }
    const request = { presented, owner, audience: asked.audience, caller: verifierOf(c) }
    const answer = await introspect({ ...ctx, now: Date.now() }, request)
    return answer.ok ? c.json(answer.value) : tooMany(c, null)
  })
  .post('/oauth/revoke', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    const client = await authenticateClient(c, form.value, { isUse: false })
    if (!client.ok) return client.reason
    const { ctx, policy } = client.value
    const { id: deviceId } = policy.device
    const presented = form.value.get('token')
    if (presented === undefined) return oauthError(c, 400, 'invalid_request', 'token is missing')
    const caller = verifierOf(c)
    const request = { presented, owner: 'any', audience: 'any', cost: 0, fresh: true, caller }
    const verified = await verifyKey({ ...ctx, now: Date.now() }, request)
    if (!verified.valid && verified.kind === 'throttled') return tooMany(c, null)
    // RFC 7009 §2.2: what is not a live token of this client's is no error, and nothing changes.
    if (verified.valid && verified.policy.device.id === deviceId) {
      // A device may get tokens without end. Its secret it can always end: that happens once.
      const isToken = verified.credential.kind === 'token'
      const who = { deviceId, ownerId: policy.owner.id }
      if (isToken && !(await admit(c, TOKEN_REVOCATION, who)).ok) return problem(c, 'rate_limited')
      await revokeCredential(auditContextOf(c, ctx, { type: 'device', deviceId }), verified)
    }
    return c.json({})
  })

/**
 * For whom and for what a verifier asks. RFC 7662 has no words for that, so clients that send no
 * other fields may have them in the URL: `/oauth/introspect?owner=any`.
 */
function askedOf(c: AppContext, form: Form) {
  const named = (name: string) => form.get(name) ?? c.req.query(name)
  return { owner: named('owner'), audience: named('audience') }
}

/** RFC 6749 §4.4, with the audience of RFC 8707. */
async function grantClientCredentials(c: AppContext, form: Form): Promise<Response> {
  // A token is charged as a verify is: its holder may call with it as often as it likes.
  const client = await authenticateClient(c, form, { cost: 1 })
  if (!client.ok) return client.reason
  const { settings } = c.var
  const { ctx, policy, credential } = client.value
  const scopes = [...new Set(form.get('scope')?.split(' ') ?? policy.key.scopes)]
  if (
    scopes.length > SCOPES_MAX ||
    !narrowsScopes(policy.key.scopes, scopes, settings.reservedScopes)
  ) {
    return oauthError(c, 400, 'invalid_scope', 'the key does not cover all of the scope')
  }
  const { deviceTokenAudiences: known } = settings
  const resources = [...new Set(form.getAll('resource'))]
  if (!resources.every((resource) => known.includes(resource))) {
    return oauthError(c, 400, 'invalid_target', "a resource is none of this deployment's")
  }
  const audiences = resources.length === 0 ? known.slice(0, 1) : resources
  const { snapshot, hash: secretHash } = credential
  const request = { snapshot, policy, secretHash, scopes, audiences }
  const issued = await issueDeviceToken(ctx, request)
  return c.json(
    {
      access_token: issued.token,
      token_type: 'Bearer',
      expires_in: issued.expiresIn,
      scope: issued.scopes.join(' '),
    },
    200,
    NO_CACHE,
  )
}

/** RFC 8628 §3.4. The access token is the device's secret: it does not expire by itself. */
async function grantDeviceCode(c: AppContext, form: Form): Promise<Response> {
  const client = await readClient(c, form)
  if (!client.ok) return client.reason
  const deviceCode = form.get('device_code')
  if (client.value === undefined || deviceCode === undefined) {
    return oauthError(c, 400, 'invalid_request', 'client_id and device_code are needed')
  }
  const ctx = { ...admit(c, CREDENTIAL), ip: clientIp(c), requestId: c.var.recordedId }
  const redeemed = await redeemClaim(ctx, { deviceCode, ...client.value })
  if (!redeemed.ok) {
    const { reason } = redeemed
    if (reason === 'invalid_client') return invalidClient(c)
    return oauthError(c, 400, reason, POLL_REFUSALS[reason])
  }
  const { secret, deviceId, keyId, scopes } = redeemed.value
  Object.assign(c.var.log, { subject: 'change', deviceId, keyId })
  const granted = { access_token: secret, token_type: 'Bearer', scope: scopes.join(' ') }
  return c.json({ ...granted, device_id: deviceId, key_id: keyId }, 200, NO_CACHE)
}

const POLL_REFUSALS = {
  authorization_pending: 'nobody has answered yet',
  slow_down: 'wait longer between polls: five seconds more from now on',
  access_denied: 'the request was denied',
  expired_token: 'the code has expired',
  invalid_grant: 'the code is not valid, or is spent',
} as const satisfies Record<Exclude<PollRefusal, 'invalid_client'>, string>

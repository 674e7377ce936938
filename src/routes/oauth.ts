import type { PollRefusal } from '../domain/claim-poll.ts'
import { narrowsScopes } from '../domain/scopes.ts'
import { clientIp } from '../http/client.ts'
import { type AppContext, factory } from '../http/env.ts'
import { authenticateClient, readClientId, tooMany } from '../http/auth/oauth-client.ts'
import { authenticateVerifier } from '../http/auth/oauth-verifier.ts'
import { callerOf, worldOf } from '../http/auth/require-device.ts'
import { type Form, oauthError, readForm } from '../http/form.ts'
import { issueDeviceToken } from '../services/keys/issue-device-token.ts'
import { endSecret } from '../services/keys/revoke-secret.ts'
import { redeemClaim } from '../services/claims/redeem-claim.ts'
import { introspect } from '../services/verify/introspect.ts'
import { verifyKey } from '../services/verify/verify-key.ts'
import { changeBy } from '../http/auth/audit-context.ts'

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'

const PUBLIC = { 'Cache-Control': 'public, max-age=300' }
/** RFC 6749 §5.1, beside the Cache-Control that every answer has. */
const NO_CACHE = { Pragma: 'no-cache' }
const CLIENT_AUTHENTICATION = ['client_secret_basic', 'client_secret_post']

/** OAuth 2.0: a device is a client, its id the client's id, its secret the client's secret. */
export const oauth = factory
  .createApp()
  .post('/oauth/token', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    switch (form.value.get('grant_type')) {
      case undefined:
        return oauthError(c, 400, 'invalid_request', 'grant_type is missing')
      case 'client_credentials':
        return await grantClientCredentials(c, form.value)
      case DEVICE_CODE:
        return await grantDeviceCode(c, form.value)
      default:
        return oauthError(c, 400, 'unsupported_grant_type', 'see the metadata for those that are')
    }
  })
  .post('/oauth/introspect', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    const verifier = await authenticateVerifier(c, form.value)
    if (verifier instanceof Response) return verifier
    const presented = form.value.get('token')
    if (presented === undefined) return oauthError(c, 400, 'invalid_request', 'token is missing')
    const request = { presented, ownerId: verifier.ownerId, caller: callerOf(c) }
    const answer = await introspect(worldOf(c), request)
    return answer === 'throttled' ? tooMany(c, null) : c.json(answer)
  })
  .post('/oauth/revoke', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    const client = await authenticateClient(c, form.value)
    if (client instanceof Response) return client
    const presented = form.value.get('token')
    if (presented === undefined) return oauthError(c, 400, 'invalid_request', 'token is missing')
    const verified = await verifyKey(worldOf(c), { presented, cost: 0, fresh: true })
    // RFC 7009 §2.2: what is not a live token of this client's is no error, and nothing changes.
    if (verified.valid && verified.policy.device.id === client.policy.device.id) {
      const change = changeBy(c, { type: 'device', id: client.policy.device.id })
      await endSecret(change, verified.policy, verified.credential.hash)
    }
    return c.body(null, 200)
  })
  .get('/.well-known/jwks.json', (c) => {
    const keys = c.var.settings.signingKeys.map(({ kty, crv, alg, kid, x, y }) => ({
      kty,
      crv,
      alg,
      kid,
      x,
      y,
      use: 'sig',
    }))
    return c.json({ keys }, 200, PUBLIC)
  })
  .get('/.well-known/oauth-authorization-server', (c) => {
    const { publicUrl: issuer } = c.var.settings
    return c.json(
      {
        issuer,
        token_endpoint: `${issuer}/oauth/token`,
        device_authorization_endpoint: `${issuer}/oauth/device_authorization`,
        introspection_endpoint: `${issuer}/oauth/introspect`,
        revocation_endpoint: `${issuer}/oauth/revoke`,
        jwks_uri: `${issuer}/.well-known/jwks.json`,
        grant_types_supported: ['client_credentials', DEVICE_CODE],
        response_types_supported: [],
        // `none` is for a device that holds nothing yet.
        token_endpoint_auth_methods_supported: [...CLIENT_AUTHENTICATION, 'none'],
        introspection_endpoint_auth_methods_supported: [...CLIENT_AUTHENTICATION, 'Bearer'],
        revocation_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
      },
      200,
      PUBLIC,
    )
  })

/** RFC 6749 §4.4, with the audience of RFC 8707. */
async function grantClientCredentials(c: AppContext, form: Form): Promise<Response> {
  const client = await authenticateClient(c, form)
  if (client instanceof Response) return client
  const { settings } = c.var
  const { policy, credential } = client
  const scopes = form.get('scope')?.split(' ') ?? policy.key.scopes
  if (!narrowsScopes(policy.key.scopes, scopes)) {
    return oauthError(c, 400, 'invalid_scope', 'the key does not cover all of the scope')
  }
  const [defaultAudience] = settings.deviceTokenAudiences
  const audience = form.get('resource') ?? defaultAudience
  if (!settings.deviceTokenAudiences.includes(audience)) {
    return oauthError(c, 400, 'invalid_target', "the resource is none of this deployment's")
  }
  const request = { secretHash: credential.hash, scopes, audience }
  const { snapshot } = credential
  const issued = await issueDeviceToken(snapshot, policy, request, settings, Date.now())
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
  const clientId = await readClientId(c, form)
  if (clientId instanceof Response) return clientId
  const deviceCode = form.get('device_code')
  if (clientId === undefined || deviceCode === undefined) {
    return oauthError(c, 400, 'invalid_request', 'client_id and device_code are needed')
  }
  const { settings, requestId } = c.var
  const now = Date.now()
  const poll = { database: c.env.DB, now, ip: clientIp(c) ?? null, requestId }
  const redeemed = await redeemClaim(poll, { deviceCode, clientId }, settings)
  if (!redeemed.ok) return oauthError(c, 400, redeemed.reason, POLL_REFUSALS[redeemed.reason])
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
} as const satisfies Record<PollRefusal, string>

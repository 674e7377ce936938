import { CLAIM_SECONDS, POLL_INTERVAL_SECONDS } from '../domain/claim-poll.ts'
import { isReservedScope } from '../domain/scopes.ts'
import { showUserCode } from '../domain/user-code.ts'
import { admit } from '../http/auth/admit.ts'
import { CLAIM_REQUEST } from '../http/auth/doors.ts'
import { readClient } from '../http/auth/oauth-client.ts'
import { throttled } from '../http/auth/refuse.ts'
import { clientIp, countryOf } from '../http/client.ts'
import { factory } from '../http/env.ts'
import { readForm } from '../http/form.ts'
import { oauthError } from '../http/oauth-error.ts'
import { problem } from '../http/problem.ts'
import { deviceAuthorization as parameters } from '../schemas/claims.ts'
import { requestClaim } from '../services/claims/request-claim.ts'

/** Where a device that holds nothing asks for its codes (RFC 8628 §3.1). */
export const deviceAuthorization = factory
  .createApp()
  .post('/oauth/device_authorization', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return oauthError(c, 400, 'invalid_request', form.reason)
    const client = await readClient(c, form.value)
    if (!client.ok) return client.reason
    const fields = {
      client_id: client.value?.clientId,
      scope: form.value.get('scope'),
      device_name: form.value.get('device_name'),
    }
    const parsed = parameters.safeParse(fields)
    if (!parsed.success) {
      const field = parsed.error.issues[0]?.path[0]
      return field === 'scope'
        ? oauthError(c, 400, 'invalid_scope', NO_SUCH_SCOPE)
        : oauthError(c, 400, 'invalid_request', FAULTS[field === 'client_id' ? field : 'name'])
    }
    const { settings } = c.var
    const { scope: scopes, device_name: deviceName = null } = parsed.data
    if (scopes.some((scope) => isReservedScope(scope, settings.reservedScopes))) {
      return oauthError(c, 400, 'invalid_scope', NO_SUCH_SCOPE)
    }
    const admitted = await admit(c, CLAIM_REQUEST, null)
    if (!admitted.ok) return throttled(c)

    const request = {
      clientId: parsed.data.client_id,
      clientDeviceId: client.value?.clientDeviceId ?? null,
      deviceName,
      scopes,
      ip: clientIp(c),
      country: countryOf(c),
    }
    const requested = await requestClaim(admitted.value, request)
    if (!requested.ok) return problem(c, 'rate_limited')
    const codes = requested.value
    const shown = showUserCode(codes.userCode)
    const verificationUri = `${settings.publicUrl}/claim`
    return c.json({
      device_code: codes.deviceCode,
      user_code: shown,
      verification_uri: verificationUri,
      verification_uri_complete: `${verificationUri}?user_code=${shown}`,
      expires_in: CLAIM_SECONDS,
      interval: POLL_INTERVAL_SECONDS,
    })
  })

const NO_SUCH_SCOPE = 'That is no scope that a device may ask for.'
const FAULTS = {
  client_id: 'client_id must be 1 to 64 visible ASCII characters.',
  name: 'device_name must be 1 to 80 characters, no control character among them.',
}

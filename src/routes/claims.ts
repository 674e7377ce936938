import { parseUserCode, showUserCode } from '../domain/user-code.ts'
import { clientIp } from '../http/client.ts'
import { factory } from '../http/env.ts'
import { requireUser, type UserEnv } from '../http/auth/require-user.ts'
import { problem } from '../http/problem.ts'
import { validBody } from '../http/validate.ts'
import { claimDecision } from '../schemas/claims.ts'
import { chargeClaimAttempt, type Claim, findClaim } from '../services/claims/request-claim.ts'
import { decideClaim } from '../services/claims/decide-claim.ts'
import { changeOf } from '../http/auth/audit-context.ts'
import { keyInputOf } from './key-input.ts'
import { timestamp } from './wire.ts'

/** A user's answer to a device that shows a code. Unknown, decided and expired are the same 404. */
export const claims = factory
  .createApp()
  .get('/v1/claims/:user_code', requireUser(), async (c) => {
    const code = c.req.param('user_code')
    if (!(await mayTryCode(c))) return problem(c, 'rate-limited')
    const claim = await findClaim(c.env.DB, code, c.var.settings, c.var.now)
    return claim === undefined ? problem(c, 'not-found') : c.json(present(claim, code, 'pending'))
  })
  .post('/v1/claims/:user_code', requireUser(), validBody(claimDecision), async (c) => {
    const { user, settings, now } = c.var
    const code = c.req.param('user_code')
    if (!(await mayTryCode(c))) return problem(c, 'rate-limited')
    const answer = c.req.valid('json')
    const decision =
      answer.decision === 'deny'
        ? answer
        : {
            ...answer,
            key: keyInputOf(answer.key, now),
            deviceId: answer.device_id,
          }
    const decided = await decideClaim(changeOf(c, user.id), user.id, code, decision, settings)
    if (decided.ok) {
      const { decision, grantedName, grantedScopes, deviceId } = decided.value
      return c.json({
        ...present(decided.value, code, decision === 'approve' ? 'approved' : 'denied'),
        granted:
          decision === 'deny'
            ? null
            : {
                name: grantedName,
                scopes: grantedScopes,
                device_id: deviceId,
              },
      })
    }
    switch (decided.reason) {
      case 'not_found':
        return problem(c, 'not-found')
      case 'device_not_found':
        return problem(c, 'not-found', { detail: 'You have no device of that device_id.' })
      case 'scopes_widened': {
        const detail = 'must be covered by what the device asked for'
        return problem(c, 'invalid-request', { errors: [{ pointer: '/scopes', detail }] })
      }
    }
  })

type UserContext = Parameters<typeof clientIp>[0] & { readonly var: UserEnv['Variables'] }

/** Charges a typed code. One that is refused is counted in the log as made up. */
async function mayTryCode(c: UserContext): Promise<boolean> {
  const { CLAIM_LIMITER_USER: limiter } = c.env
  const allowed = await chargeClaimAttempt(limiter, clientIp(c) ?? null, c.var.user.id)
  if (!allowed) c.var.log.subject = 'made-up'
  return allowed
}

function present(claim: Claim, typedCode: string, status: 'pending' | 'approved' | 'denied') {
  return {
    user_code: showUserCode(parseUserCode(typedCode) ?? ''),
    status,
    client_id: claim.clientId,
    device_name: claim.deviceName,
    scopes: claim.scopes,
    ip: claim.ip,
    country: claim.country,
    created_at: timestamp(claim.createdAt),
    expires_at: timestamp(claim.expiresAt),
  }
}

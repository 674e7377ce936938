import type * as z from 'zod'
import { err, ok, type Result } from '../domain/result.ts'
import { parseUserCode, showUserCode } from '../domain/user-code.ts'
import { rfc3339 } from '../domain/time.ts'
import { admit } from '../http/auth/admit.ts'
import { capReached } from '../http/auth/cap-reached.ts'
import { userContextOf } from '../http/auth/contexts.ts'
import { CLAIM_CODE } from '../http/auth/doors.ts'
import { idempotent } from '../http/auth/idempotent.ts'
import { throttled } from '../http/auth/refuse.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import type { FieldError } from '../http/problem-types.ts'
import { validBody } from '../http/validate.ts'
import { claimDecision } from '../schemas/claims.ts'
import { type ClaimDecision, decideClaim } from '../services/claims/decide-claim.ts'
import { type Claim, type ClaimStatus, findClaimFor } from '../services/claims/find-claim.ts'
import { withdrawClaim } from '../services/claims/withdraw-claim.ts'
import { keyInputOf, type PolicyAsker, scopeFaults } from './key-input.ts'
import { replayHeaders } from './wire.ts'

/** A user's answer to a device that shows a code. Unknown, decided and expired are the same 404. */
export const claims = factory
  .createApp()
  .get('/v1/claims/:user_code', requireUser(), async (c) => {
    const code = c.req.param('user_code')
    const { id: userId } = c.var.user
    const admitted = await admit(c, CLAIM_CODE, { userId })
    if (!admitted.ok) return throttled(c)
    const found = await findClaimFor(admitted.value, { userId, typedCode: code })
    if (!found.ok) return problem(c, found.reason)
    return c.json(toWire(found.value.claim, code, found.value.status))
  })
  .post('/v1/claims/:user_code', requireUser(), idempotent, validBody(claimDecision), async (c) => {
    const code = c.req.param('user_code')
    const decision = decisionOf(c.req.valid('json'), c.var)
    if (!decision.ok) return problem(c, 'invalid_request', { errors: decision.reason })
    const { id: userId } = c.var.user
    if (!(await admit(c, CLAIM_CODE, { userId })).ok) return throttled(c)
    const input = { userId, typedCode: code, decision: decision.value }
    const decided = await decideClaim(userContextOf(c), input)
    if (decided.ok) {
      const { decision, grantedName, grantedScopes, deviceId } = decided.value
      const granted = { name: grantedName, scopes: grantedScopes, device_id: deviceId }
      const isApproved = decision === 'approve'
      const claim = toWire(decided.value, code, isApproved ? 'approved' : 'denied')
      const body = { ...claim, granted: isApproved ? granted : null }
      return c.json(body, 200, replayHeaders(decided.value))
    }
    switch (decided.reason) {
      case 'not_found':
        return problem(c, 'not_found')
      case 'answer_not_kept':
      case 'idempotency_key_reused':
        return problem(c, decided.reason)
      case 'cap_reached': {
        const isForDevice = 'deviceId' in input.decision && input.decision.deviceId !== undefined
        return capReached(c, isForDevice ? 'keys' : 'devices')
      }
      case 'device_not_found':
        return problem(c, 'not_found', { detail: 'You have no device of that device_id.' })
      case 'scopes_widened': {
        const detail = 'must be covered by what the device asked for'
        return problem(c, 'invalid_request', { errors: [{ pointer: '/scopes', detail }] })
      }
    }
  })
  .delete('/v1/claims/:user_code', requireUser(), async (c) => {
    const code = c.req.param('user_code')
    const { id: userId } = c.var.user
    if (!(await admit(c, CLAIM_CODE, { userId })).ok) return throttled(c)
    const sought = { userId, typedCode: code }
    const withdrawn = await withdrawClaim(userContextOf(c), sought)
    return withdrawn.ok ? c.body(null, 204) : problem(c, withdrawn.reason)
  })

/** The wire's answer in the services' words. */
function decisionOf(
  answer: z.output<typeof claimDecision>,
  asker: PolicyAsker,
): Result<ClaimDecision, FieldError[]> {
  if (answer.decision === 'deny') return ok(answer)
  const key = keyInputOf(answer.key, asker, '/key')
  const faults = scopeFaults(answer.scopes, asker, '/scopes')
  if (!key.ok) return err([...key.reason, ...faults])
  if (faults.length > 0) return err(faults)
  return ok({ ...answer, key: key.value, deviceId: answer.device_id })
}

function toWire(claim: Claim, typedCode: string, status: ClaimStatus | 'denied') {
  return {
    user_code: showUserCode(parseUserCode(typedCode) ?? ''),
    status,
    client_id: claim.clientId,
    device_name: claim.deviceName,
    scopes: claim.scopes,
    ip: claim.ip,
    country: claim.country,
    created_at: rfc3339(claim.createdAt),
    expires_at: rfc3339(claim.expiresAt),
  }
}

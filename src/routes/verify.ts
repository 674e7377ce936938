import { verifierReach } from '../domain/scopes.ts'
import { factory } from '../http/env.ts'
import { callerOf, requireDevice, worldOf } from '../http/auth/require-device.ts'
import { noteDenial, problem } from '../http/problem.ts'
import { validBody } from '../http/validate.ts'
import { verifyRequest } from '../schemas/verify.ts'
import { verifyFor } from '../services/verify/verify-result.ts'

/** A backend asks: is this key good? Every decision is a 200; errors are the verifier's own. */
export const verify = factory
  .createApp()
  .post(
    '/v1/keys/verify',
    requireDevice({ asVerifier: true }),
    validBody(verifyRequest),
    async (c) => {
      const { key, owner } = c.var
      const { api_key: presented, ...asked } = c.req.valid('json')
      const isForAll = verifierReach(key.scopes, owner.role) === 'all'
      const ownerId = isForAll ? undefined : owner.id
      const request = { presented, ...asked, ownerId, caller: callerOf(c) }
      const result = await verifyFor(worldOf(c), request)
      if (!result.valid) noteDenial(c, result.code)
      // A denial that names no owner is of the verifier itself: too many unknown secrets.
      const isOwnFault = result.code === 'rate_limited' && result.owner === undefined
      return isOwnFault ? problem(c, 'rate-limited') : c.json(result)
    },
  )

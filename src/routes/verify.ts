import { OWNER_WANTED, ownerFor } from '../domain/owner.ts'
import { verifierReach } from '../domain/scopes.ts'
import { throttled } from '../http/auth/refuse.ts'
import { requireDevice } from '../http/auth/require-device.ts'
import { verifierOf } from '../http/auth/verify-presented.ts'
import { factory } from '../http/env.ts'
import { noteDenial } from '../http/log.ts'
import { problem } from '../http/problem.ts'
import { validBody } from '../http/validate.ts'
import { verifyRequest } from '../schemas/verify.ts'
import { verifyFor } from '../services/verify/verify-result.ts'

/** A backend asks: is this key good? Every decision is a 200; errors are the verifier's own. */
export const verify = factory
  .createApp()
  .post(
    '/v1/keys/verify',
    requireDevice({ owner: 'any', asVerifier: true }),
    validBody(verifyRequest),
    async (c) => {
      const { ctx, key, owner: own } = c.var
      const { api_key: presented, owner: asked, ...rest } = c.req.valid('json')
      const reach = verifierReach(key.scopes, own.role) ?? 'own'
      const owner = ownerFor({ reach, ownerId: own.id }, asked)
      if (owner === undefined) {
        const errors = [{ pointer: '/owner', detail: OWNER_WANTED }]
        return problem(c, 'invalid_request', { errors })
      }
      const request = { presented, ...rest, owner, caller: verifierOf(c) }
      const result = await verifyFor({ ...ctx, now: Date.now() }, request)
      if (!result.ok) return throttled(c)
      if (!result.value.valid) noteDenial(c, result.value.code)
      return c.json(result.value)
    },
  )

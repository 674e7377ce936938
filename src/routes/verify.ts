import { verifierReach } from '../domain/scopes.ts'
import { verifyContextOf } from '../http/auth/contexts.ts'
import { throttled } from '../http/auth/refuse.ts'
import { requireDevice } from '../http/auth/require-device.ts'
import { verifierOf } from '../http/auth/verify-presented.ts'
import { factory } from '../http/env.ts'
import { noteDenial } from '../http/log.ts'
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
      const request = { presented, ...asked, ownerId, caller: verifierOf(c) }
      const result = await verifyFor(verifyContextOf(c, Date.now()), request)
      if (!result.ok) return throttled(c)
      if (!result.value.valid) noteDenial(c, result.value.code)
      return c.json(result.value)
    },
  )

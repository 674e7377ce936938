import { createMiddleware } from 'hono/factory'
import type { SignedInUser } from '../../services/sessions/access-token.ts'
import type { Credential } from '../../services/verify/verify-key.ts'
import type { AppEnv } from '../env.ts'
import { problem } from '../problem.ts'

/** Visible ASCII; a header that was sent twice arrives with a space in it. */
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{8,255}$/

type CallerEnv = AppEnv & { Variables: { user?: SignedInUser; credential?: Credential } }

/**
 * Lets a client ask again for an answer that it lost (draft-ietf-httpapi-idempotency-key-header):
 * under one `Idempotency-Key`, a request of one session or secret is carried out once. It stands
 * after the middleware that says who is calling, and before what reads the body.
 */
export const idempotent = createMiddleware<CallerEnv>(async function idempotent(c, next) {
  const key = c.req.header('idempotency-key')
  const scope = c.var.user?.sessionId ?? c.var.credential?.hash
  if (key === undefined || scope === undefined) return await next()
  if (!IDEMPOTENCY_KEY.test(key)) {
    const detail = 'An Idempotency-Key is 8 to 255 visible ASCII characters, sent once.'
    return problem(c, 'invalid_request', { detail })
  }
  const body = await c.req.raw.clone().text()
  c.set('once', { scope, key, request: `${c.req.method} ${c.req.path}\n${body}` })
  return await next()
})

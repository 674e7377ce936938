import { createMiddleware } from 'hono/factory'
import { verifyAccessToken, type SignedInUser } from '../../services/sessions/access-token.ts'
import { readAuthorization } from './credential.ts'
import type { AppEnv } from '../env.ts'
import { denied, problem, refusedCredential } from '../problem.ts'

export type UserEnv = AppEnv & { Variables: { user: SignedInUser } }

export type RequireUserOptions = {
  /** The Authorization schemes under which the token may come. */
  readonly schemes?: readonly string[]
}

/** Lets in who presents an access token of a live session; the route reads `c.var.user`. */
export function requireUser(options: RequireUserOptions = {}) {
  const schemes = (options.schemes ?? ['Bearer']).map((scheme) => scheme.toLowerCase())
  return createMiddleware<UserEnv>(async function requireUser(c, next) {
    const header = c.req.header('authorization')
    if (header === undefined) return problem(c, 'missing-credential')
    const presented = readAuthorization(header, schemes)
    if (!presented.ok) return refusedCredential(c, presented.reason)

    // Not the request's own time: it may have begun long ago, with a body that trickled.
    const now = Date.now()
    const verified = await verifyAccessToken(c.env.DB, presented.value, c.var.settings, now)
    if (!verified.ok) return denied(c, verified.reason)
    c.set('user', verified.value)
    c.var.log.userId = verified.value.id
    return await next()
  })
}

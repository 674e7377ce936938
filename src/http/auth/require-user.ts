import { createMiddleware } from 'hono/factory'
import { verifyAccessToken, type SignedInUser } from '../../services/sessions/access-token.ts'
import type { AppEnv } from '../env.ts'
import { verifyContextOf } from './contexts.ts'
import { readAuthorization } from './credential.ts'
import { denied, refusedCredential } from './refuse.ts'

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
    if (header === undefined) return refusedCredential(c, 'missing')
    const presented = readAuthorization(header, schemes)
    if (!presented.ok) return refusedCredential(c, presented.reason)

    const verified = await verifyAccessToken(verifyContextOf(c), presented.value)
    if (!verified.ok) return denied(c, verified.reason)
    c.set('user', verified.value)
    c.var.log.userId = verified.value.id
    return await next()
  })
}

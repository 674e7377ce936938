import { createMiddleware } from 'hono/factory'
import { verifyAccessToken, type SignedInUser } from '../../services/sessions/access-token.ts'
import type { VerifyContext } from '../../services/context.ts'
import type { AppEnv } from '../env.ts'
import { problem } from '../problem.ts'
import { admit } from './admit.ts'
import { readAuthorization } from './credential.ts'
import { CHANGE, CREDENTIAL } from './doors.ts'
import { denied, refusedCredential } from './refuse.ts'

export type UserEnv = AppEnv & { Variables: { user: SignedInUser; ctx: VerifyContext } }

export type RequireUserOptions = {
  /** The Authorization schemes under which the token may come. */
  readonly schemes?: readonly string[]
}

const ACCESS_TOKEN_PLACE =
  'Send an access token as Authorization: Bearer. POST /v1/sessions gives one.'

/**
 * Lets in who presents an access token of a live session; the route reads `c.var.user`. A request
 * that may change something is one of the user's 600 a minute and location, whatever it makes.
 */
export function requireUser(options: RequireUserOptions = {}) {
  // The classic door, which takes other schemes, keeps its own words.
  const places = options.schemes === undefined ? ACCESS_TOKEN_PLACE : undefined
  const schemes = (options.schemes ?? ['Bearer']).map((scheme) => scheme.toLowerCase())
  return createMiddleware<UserEnv>(async function requireUser(c, next) {
    const presented = readAuthorization(c.req.header('authorization') ?? '', schemes)
    if (!presented.ok) return refusedCredential(c, presented.reason, places)

    const ctx = admit(c, CREDENTIAL)
    const verified = await verifyAccessToken(ctx, presented.value)
    if (!verified.ok) return denied(c, verified.reason)
    const { id: userId } = verified.value
    c.set('user', verified.value)
    c.set('ctx', ctx)
    c.var.log.userId = userId
    const isChange = c.req.method !== 'GET' && c.req.method !== 'HEAD'
    if (isChange && !(await admit(c, CHANGE, { userId })).ok) return problem(c, 'rate_limited')
    return await next()
  })
}

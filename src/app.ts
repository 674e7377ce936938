import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { isDatabaseFailure } from './db/errors.ts'
import { Unavailable } from './domain/unavailable.ts'
import { factory, type AppEnv } from './http/env.ts'
import { logFailure } from './http/log.ts'
import { bodyBound } from './http/middleware/body-limit.ts'
import { classicErrors } from './http/middleware/error-format.ts'
import { crossOrigin } from './http/middleware/cors.ts'
import { oauthErrors } from './http/middleware/oauth-errors.ts'
import { requestContext } from './http/middleware/request-context.ts'
import { problem } from './http/problem.ts'
import { classic } from './routes/classic.ts'
import { auditEvents } from './routes/audit-events.ts'
import { claimPage } from './pages/claim.tsx'
import { claims } from './routes/claims.ts'
import { deviceAuthorization } from './routes/device-authorization.ts'
import { device } from './routes/device.ts'
import { devices } from './routes/devices.ts'
import { forwardAuth } from './routes/forward-auth.ts'
import { keys } from './routes/keys.ts'
import { oauth } from './routes/oauth.ts'
import { sessions } from './routes/sessions.ts'
import { system } from './routes/system.ts'
import { usage } from './routes/usage.ts'
import { users } from './routes/users.ts'
import { verify } from './routes/verify.ts'
import { SettingsError } from './settings.ts'

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

/** The whole application: what every request passes, and the doors behind it. */
export const app = factory
  .createApp()
  .use(requestContext)
  // Before what would answer a preflight in its stead, or refuse a body that it never reads.
  .route('/', forwardAuth)
  .use(crossOrigin)
  .use(classicErrors)
  .use(oauthErrors)
  .use(bodyBound)
  .route('/', users)
  .route('/', sessions)
  .route('/', devices)
  .route('/', keys)
  .route('/', usage)
  .route('/', auditEvents)
  .route('/', device)
  .route('/', verify)
  .route('/', oauth)
  .route('/', deviceAuthorization)
  .route('/', claims)
  .route('/', claimPage)
  .route('/', classic)
  .route('/', system)

export type AppType = typeof app

app.notFound((c) => {
  const allowed = methodsOf(c.req.path)
  return allowed.length === 0
    ? problem(c, 'not-found')
    : problem(c, 'method-not-allowed', { headers: { Allow: allowed.join(', ') } })
})

app.onError((thrown, c) => {
  if (thrown instanceof HTTPException) return problemOfException(c, thrown)
  logFailure(c.get('requestId'), thrown)
  if (thrown instanceof SettingsError) {
    return problem(c, 'misconfigured', { detail: thrown.message })
  }
  const isOutage = thrown instanceof Unavailable || isDatabaseFailure(thrown)
  return problem(c, isOutage ? 'unavailable' : 'internal-error')
})

/** The methods that have a route for the path; middleware, registered for all of them, is none. */
function methodsOf(path: string): string[] {
  const methods = METHODS.filter((method) =>
    app.router.match(method, path)[0].some(([[, route]]) => route.method === method),
  )
  return methods.includes('GET') ? ['HEAD', ...methods] : methods
}

/** Hono itself throws for JSON that does not parse; nothing else in it does on our routes. */
function problemOfException(c: Context<AppEnv>, thrown: HTTPException): Response {
  if (thrown.status === 400) return problem(c, 'invalid-json')
  logFailure(c.get('requestId'), thrown)
  return problem(c, 'internal-error')
}

import { type Context, Hono } from 'hono'
import { denied } from './http/auth/refuse.ts'
import type { RootEnv } from './http/env.ts'
import { logFailure } from './http/log.ts'
import { bodyLimit } from './http/middleware/body-limit.ts'
import { crossOrigin } from './http/middleware/cors.ts'
import { documentHeaders } from './http/middleware/document-headers.ts'
import { asMessage, asOAuthError, errorsOf } from './http/middleware/error-format.ts'
import { ownFormsOnly } from './http/middleware/own-forms.ts'
import { requestContext } from './http/middleware/request-context.ts'
import { problem } from './http/problem.ts'
import { type IsolateState, thisIsolate } from './isolate/state.ts'
import { claimPage } from './pages/claim.tsx'
import { asErrorPage } from './pages/layout.tsx'
import { auditEvents } from './routes/audit-events.ts'
import { claims } from './routes/claims.ts'
import { classic } from './routes/classic.ts'
import { deviceAuthorization } from './routes/device-authorization.ts'
import { device } from './routes/device.ts'
import { devices } from './routes/devices.ts'
import { forwardAuth } from './routes/forward-auth.ts'
import { keys } from './routes/keys.ts'
import { oauthMetadata } from './routes/oauth-metadata.ts'
import { oauth } from './routes/oauth.ts'
import { sessions } from './routes/sessions.ts'
import { system } from './routes/system.ts'
import { usage } from './routes/usage.ts'
import { users } from './routes/users.ts'
import { verify } from './routes/verify.ts'
import { SessionEnded } from './services/changes/commit.ts'
import { diagnose } from './services/health.ts'
import { SettingsError } from './settings.ts'

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

/**
 * Makes the whole application: the middleware that every request passes, then the routes.
 * @param isolate the memory between requests; a test brings its own
 */
export function makeApp(isolate: IsolateState = thisIsolate) {
  const app = new Hono<RootEnv>()
    .use(documentHeaders)
    .use(requestContext(isolate))
    // Comes first: CORS would answer its OPTIONS requests, and it reads no body.
    .route('/', forwardAuth)
    .use(crossOrigin)
    // Before the body is read, which can fail already.
    .route('/', errorsOf(classic, asMessage))
    .route('/', errorsOf(oauth, asOAuthError))
    .route('/', errorsOf(deviceAuthorization, asOAuthError))
    .route('/', errorsOf(claimPage, asErrorPage))
    .use('/claim', ownFormsOnly)
    .use(bodyLimit)
    .route('/', users)
    .route('/', sessions)
    .route('/', devices)
    .route('/', keys)
    .route('/', usage)
    .route('/', auditEvents)
    .route('/', device)
    .route('/', verify)
    .route('/', oauth)
    .route('/', oauthMetadata)
    .route('/', deviceAuthorization)
    .route('/', claims)
    .route('/', claimPage)
    .route('/', classic)
    .route('/', system)

  app.notFound((c) => {
    const allowed = METHODS.filter((method) =>
      // Middleware is registered for all methods, and answers none.
      app.router.match(method, c.req.path)[0].some(([[, route]]) => route.method === method),
    )
    if (allowed.length === 0) return problem(c, 'not_found')
    const methods = allowed.includes('GET') ? ['HEAD', ...allowed] : allowed
    return problem(c, 'method_not_allowed', { headers: { Allow: methods.join(', ') } })
  })
  app.onError(answerFailure)
  return app
}

export const app = makeApp()

export type AppType = typeof app

async function answerFailure(thrown: Error, c: Context<RootEnv>): Promise<Response> {
  if (thrown instanceof SessionEnded) return denied(c, 'revoked')
  if (thrown instanceof SettingsError) {
    logFailure(c.get('recordedId'), thrown, 'misconfigured')
    return problem(c, 'misconfigured', { detail: thrown.message })
  }
  const code = await diagnose(c.env.DB, thrown)
  logFailure(c.get('recordedId'), thrown, code)
  return problem(c, code)
}

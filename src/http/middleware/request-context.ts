import { loadSettings } from '../../settings.ts'
import { type AppContext, factory } from '../env.ts'
import { logRequest } from '../log.ts'

const SAFETY = { 'X-Content-Type-Options': 'nosniff' }
const HSTS = 'max-age=31536000'

const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/

/**
 * Gives every request its id (taken from X-Request-Id if that is harmless to echo), its one time
 * and the settings; gives every response the headers that all of them carry; writes the log line.
 */
export const requestContext = factory.createMiddleware(async function requestContext(c, next) {
  const now = Date.now()
  const presentedId = c.req.header('x-request-id')
  const requestId =
    presentedId !== undefined && REQUEST_ID.test(presentedId) ? presentedId : crypto.randomUUID()
  c.set('now', now)
  c.set('requestId', requestId)
  c.set('log', {})
  // What is public and static says so itself.
  const headers = { ...SAFETY, 'X-Request-Id': requestId, 'Cache-Control': 'no-store' }
  c.set('headers', headers)
  carryHeaders(c, headers)
  const settings = loadSettings(c.env)
  c.set('settings', settings)
  if (settings.publicUrl.startsWith('https:')) c.var.headers['Strict-Transport-Security'] = HSTS
  await next()
  // A route may have answered with a Response of its own making, which knows nothing of them.
  for (const name of Object.keys(c.var.headers)) {
    if (c.res.headers.has(name)) delete c.var.headers[name]
  }
  carryHeaders(c, c.var.headers)
  logRequest(c, Date.now() - now)
})

function carryHeaders(c: AppContext, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) c.header(name, value)
}

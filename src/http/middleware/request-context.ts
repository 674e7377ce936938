import { loadSettings } from '../../settings.ts'
import { factory } from '../env.ts'
import { logRequest } from '../log.ts'

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
  c.header('X-Request-Id', requestId)
  c.header('X-Content-Type-Options', 'nosniff')
  // What is public and static says so itself.
  c.header('Cache-Control', 'no-store')
  const settings = loadSettings(c.env)
  c.set('settings', settings)
  if (settings.publicUrl.startsWith('https:')) {
    c.header('Strict-Transport-Security', 'max-age=31536000')
  }
  await next()
  logRequest(c, Date.now() - now)
})

import { cors } from 'hono/cors'
import { factory } from '../env.ts'

const DAY_SECONDS = 86_400

/**
 * CORS for the origins of CORS_ORIGINS. What says that it is public is so for every origin,
 * whatever that setting holds: a shared cache keeps one answer for all.
 */
export const crossOrigin = factory.createMiddleware(async function crossOrigin(c, next) {
  const { corsOrigins } = c.var.settings
  const isPreflight = corsOrigins.length > 0 && c.req.method === 'OPTIONS'
  if (!isPreflight) await next()
  if (/\bpublic\b/.test(c.res.headers.get('cache-control') ?? '')) {
    c.header('Access-Control-Allow-Origin', '*')
    return
  }
  if (corsOrigins.length === 0) return
  const answer = cors({
    origin: [...corsOrigins],
    allowHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key', 'X-API-Key', 'X-Request-Id'],
    allowMethods: ['GET', 'POST', 'PATCH', 'DELETE'],
    exposeHeaders: [
      'Idempotency-Replayed',
      'Location',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'WWW-Authenticate',
      'X-Request-Id',
    ],
    maxAge: DAY_SECONDS,
  })
  // The route has answered, unless this is a preflight: that one is answered here.
  return await answer(c, () => Promise.resolve())
})

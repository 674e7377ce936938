import { cors } from 'hono/cors'
import { factory } from '../env.ts'

const DAY_SECONDS = 86_400

/** CORS for the origins of CORS_ORIGINS; without any, no request is treated differently. */
export const crossOrigin = factory.createMiddleware(async function crossOrigin(c, next) {
  const { corsOrigins } = c.var.settings
  if (corsOrigins.length === 0) return await next()
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
  return await answer(c, next)
})

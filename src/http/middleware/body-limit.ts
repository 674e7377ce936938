import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { type AppEnv, factory } from '../env.ts'
import { problem } from '../problem.ts'

export const BODY_MAX_BYTES = 64 * 1024

const bound = bodyLimit({
  maxSize: BODY_MAX_BYTES,
  onError: (c: Context<AppEnv>) => problem(c, 'body-too-large'),
})

/** Refuses a body over 64 KiB. GET and HEAD bodies are never read, and hono throws on chunked ones. */
export const bodyBound = factory.createMiddleware(async function bodyBound(c, next) {
  if (c.req.method === 'GET' || c.req.method === 'HEAD') return await next()
  return await bound(c, next)
})

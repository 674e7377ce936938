import * as z from 'zod'
import { factory } from '../env.ts'

const problemDocument = z.object({
  detail: z.string(),
  errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).default([]),
})

const CLASSIC_PATHS: ReadonlySet<string> = new Set([
  '/register',
  '/auth',
  '/user/add-device',
  '/device/check-in',
])

/** Gives errors the classic clients' shape: what was a problem document becomes `{"message"}`. */
export const classicErrors = factory.createMiddleware(async function classicErrors(c, next) {
  await next()
  if (!CLASSIC_PATHS.has(c.req.path)) return
  if (c.res.headers.get('content-type') !== 'application/problem+json') return
  const { detail, errors } = problemDocument.parse(await c.res.json())
  const message =
    errors.map((error) => `${error.pointer.slice(1)}: ${error.detail}`).join('; ') || detail
  const headers = new Headers(c.res.headers)
  headers.set('Content-Type', 'application/json')
  c.res = new Response(JSON.stringify({ message }), { status: c.res.status, headers })
})

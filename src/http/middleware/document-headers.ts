import { createMiddleware } from 'hono/factory'
import type { RootEnv } from '../env.ts'

/**
 * For a browser that opens an answer of the API as a document: it loads nothing, is framed by
 * nobody, and tells no other site its URL. Pages bring headers of their own, which stay.
 */
const OF_DOCUMENTS = [
  ['Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'"],
  ['Referrer-Policy', 'no-referrer'],
] as const

/**
 * Gives what has a body the headers of a document, errors and a Worker without settings included:
 * so it stands before all else. A 204, which is what forward-auth answers, is no document.
 */
export const documentHeaders = createMiddleware<RootEnv>(async function documentHeaders(c, next) {
  await next()
  const { status, headers } = c.res
  if (status === 204) return
  for (const [name, value] of OF_DOCUMENTS) {
    if (!headers.has(name)) headers.set(name, value)
  }
})

import { RETRY_AFTER_SECONDS } from '../domain/unavailable.ts'
import type { AppContext } from './env.ts'
import type { Problem, ProblemOptions } from './problem-types.ts'
import { type ProblemCode, PROBLEMS } from './problems.ts'

/** The window of the platform's limiters, which do not tell when it ends. */
const LIMIT_WINDOW_SECONDS = 60

/**
 * Answers with an error, in the format of this path: a problem document, unless a middleware has
 * said otherwise (http/middleware/error-format.ts).
 */
export function problem(c: AppContext, code: ProblemCode, options: ProblemOptions = {}): Response {
  const { status, title, meaning } = PROBLEMS[code]
  return c.var.renderError(c, {
    detail: meaning,
    ...options,
    code,
    status,
    title,
    headers: { ...headersOf(code, status), ...options.headers },
  })
}

/** A problem document (RFC 9457). */
export function asProblemDocument(c: AppContext, problem: Problem): Response {
  const { code, status, title, detail, errors, members, headers } = problem
  return c.json(
    {
      type: problemType(c, code),
      title,
      status,
      detail,
      instance: `/requests/${c.var.requestId}`,
      code,
      ...(errors === undefined ? {} : { errors }),
      ...members,
    },
    status,
    { ...headers, 'Content-Type': 'application/problem+json' },
  )
}

/** Settings may be what failed: then the type is relative, which RFC 9457 §3.1.1 allows. */
function problemType(c: AppContext, code: ProblemCode): string {
  const settings: { readonly publicUrl: string } | undefined = c.var.settings
  return `${settings?.publicUrl ?? ''}/problems/${code}`
}

function headersOf(code: ProblemCode, status: number): Record<string, string> {
  if (status === 401) return { 'WWW-Authenticate': challenge(code) }
  // The rest of the body is not wanted any more (RFC 9110 §15.5.9).
  if (status === 408) return { Connection: 'close' }
  if (status === 429) return { 'Retry-After': String(LIMIT_WINDOW_SECONDS) }
  if (status === 503) return { 'Retry-After': String(RETRY_AFTER_SECONDS) }
  return {}
}

/** RFC 6750 §3.1: no `error` where no token was presented. */
function challenge(code: ProblemCode): string {
  const realm = 'Bearer realm="latchkey"'
  if (code === 'missing_credential' || code === 'invalid_credentials') return realm
  return `${realm}, error="invalid_token", error_description="${PROBLEMS[code].title}"`
}

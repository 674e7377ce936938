import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { RETRY_AFTER_SECONDS } from '../domain/unavailable.ts'
import type { AppContext } from './env.ts'
import { PROBLEMS, type ProblemCode } from './problems.ts'

/** One fault of a body: where it is (RFC 6901) and what is wrong with it. */
export type FieldError = { readonly pointer: string; readonly detail: string }

export type ProblemOptions = {
  /** A sentence about this occurrence. Nothing secret, and nothing of the database's. */
  readonly detail?: string
  readonly errors?: readonly FieldError[]
  /** Further members of the document (RFC 9457 §3.2). */
  readonly members?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, string>>
}

/** An error that is to be answered, before it has a format. */
export type Problem = ProblemOptions & {
  readonly code: ProblemCode
  readonly status: ContentfulStatusCode
  readonly title: string
  readonly detail: string
  readonly headers: Readonly<Record<string, string>>
}

/** Writes an error in the format that the clients of a path read. */
export type ErrorRenderer = (c: AppContext, problem: Problem) => Response

/** The window of the platform's limiters, which do not tell when it ends. */
export const LIMIT_WINDOW_SECONDS = 60

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

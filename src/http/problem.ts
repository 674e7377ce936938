import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { RETRY_AFTER_SECONDS } from '../domain/unavailable.ts'
import { problemOfDenial, PROBLEMS, type ProblemCode } from './problems.ts'
import type { Denial } from '../domain/evaluate-key.ts'
import type { MeterDecision } from '../domain/meter.ts'
import type { CredentialFault } from './auth/credential.ts'
import { secondsUntil } from './limit-headers.ts'
import type { AppContext } from './env.ts'

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

/** The window of the platform's limiters, which do not tell when it ends. */
const LIMIT_WINDOW_SECONDS = 60
/** How long to wait for what comes by itself never, such as a total quota: somebody may raise it. */
const NEVER_SECONDS = 86_400

/** Answers with a problem document (RFC 9457). Every error body but the classic ones is one. */
export function problem(c: AppContext, code: ProblemCode, options: ProblemOptions = {}): Response {
  const { status, title, meaning } = PROBLEMS[code]
  return c.json(
    {
      type: problemType(c, code),
      title,
      status,
      detail: options.detail ?? meaning,
      instance: `/requests/${c.var.requestId}`,
      code,
      ...(options.errors === undefined ? {} : { errors: options.errors }),
      ...options.members,
    },
    status satisfies ContentfulStatusCode,
    { ...headersOf(code, status), ...options.headers, 'Content-Type': 'application/problem+json' },
  )
}

/**
 * Answers a denied credential.
 * @param scopes what was asked for: named where that is what is missing (RFC 6750 §3.1)
 */
export function denied(c: AppContext, denial: Denial, scopes: readonly string[] = []): Response {
  noteDenial(c, denial)
  const code = problemOfDenial(denial)
  if (denial === 'insufficient_scope') {
    const challenge = `Bearer realm="latchkey", error="insufficient_scope", scope="${scopes.join(' ')}"`
    return problem(c, code, { headers: { 'WWW-Authenticate': challenge } })
  }
  return problem(c, code)
}

/** Answers a key that is over a limit: how that limit stands, and when a retry would pass. */
export function overLimit(
  c: AppContext,
  denial: 'rate_limited' | 'quota_exceeded',
  decision: MeterDecision,
): Response {
  noteDenial(c, denial)
  const reading = denial === 'rate_limited' ? decision.rateLimit : decision.quota
  return problem(c, problemOfDenial(denial), {
    headers: { 'Retry-After': retryAfter(decision, c.var.now) },
    members: {
      limit: reading?.limit,
      remaining: reading?.remaining,
      // When a retry would pass all limits, not only this one.
      reset_at: decision.retryAt === null ? null : new Date(decision.retryAt).toISOString(),
    },
  })
}

/** `Retry-After` for who is over a limit; null: over the one on unknown secrets. */
export function retryAfter(decision: MeterDecision | null, now: number): string {
  if (decision === null) return String(LIMIT_WINDOW_SECONDS)
  const { retryAt } = decision
  return String(retryAt === null ? NEVER_SECONDS : Math.max(1, secondsUntil(retryAt, now)))
}

/** Notes for the log that a credential was refused: one that was made up is only counted. */
export function noteDenial(c: AppContext, denial: Denial): void {
  const isGenuine = denial !== 'not_found'
  c.var.log.subject = isGenuine ? 'denial' : 'made-up'
}

/** Answers a request in which there is not exactly one credential of an accepted form. */
export function refusedCredential(c: AppContext, fault: CredentialFault): Response {
  switch (fault) {
    case 'missing':
      return problem(c, 'missing-credential')
    case 'several':
      return problem(c, 'several-credentials')
    case 'malformed':
      return denied(c, 'not_found')
  }
}

/** Settings may be what failed: then the type is relative, which RFC 9457 §3.1.1 allows. */
function problemType(c: AppContext, code: ProblemCode): string {
  const settings: { readonly publicUrl: string } | undefined = c.var.settings
  return `${settings?.publicUrl ?? ''}/problems/${code}`
}

function headersOf(code: ProblemCode, status: number): Record<string, string> {
  if (status === 401) return { 'WWW-Authenticate': challenge(code) }
  if (status === 429) return { 'Retry-After': String(LIMIT_WINDOW_SECONDS) }
  if (status === 503) return { 'Retry-After': String(RETRY_AFTER_SECONDS) }
  return {}
}

/** RFC 6750 §3.1: no `error` where no token was presented. */
function challenge(code: ProblemCode): string {
  const realm = 'Bearer realm="latchkey"'
  if (code === 'missing-credential' || code === 'invalid-credentials') return realm
  return `${realm}, error="invalid_token", error_description="${PROBLEMS[code].title}"`
}

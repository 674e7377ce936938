import type { Denial } from '../../domain/evaluate-key.ts'
import type { MeterDecision } from '../../domain/meter.ts'
import { rfc3339 } from '../../domain/time.ts'
import type { AppContext } from '../env.ts'
import { retryAfter } from '../limit-headers.ts'
import { noteDenial } from '../log.ts'
import { problem } from '../problem.ts'
import { problemOfDenial, PROBLEMS } from '../problems.ts'
import type { CredentialFault } from './credential.ts'

/**
 * Answers a denied credential.
 * @param scopes what was asked for: named where that is missing (RFC 6750 §3.1)
 */
export function denied(c: AppContext, denial: Denial, scopes: readonly string[] = []): Response {
  noteDenial(c, denial)
  const code = problemOfDenial(denial)
  if (denial !== 'insufficient_scope') return problem(c, code)
  const fault = `error="insufficient_scope", scope="${scopes.join(' ')}"`
  return problem(c, code, { headers: { 'WWW-Authenticate': `Bearer realm="latchkey", ${fault}` } })
}

/** Answers a key that is over a limit: how that limit stands, and when a retry would pass. */
export function overLimit(
  c: AppContext,
  denial: 'rate_limited' | 'quota_exceeded',
  decision: MeterDecision,
): Response {
  noteDenial(c, denial)
  const reading = denial === 'rate_limited' ? decision.rateLimit : decision.quota
  return problem(c, denial, {
    headers: { 'Retry-After': retryAfter(decision, c.var.now) },
    members: {
      limit: reading?.limit,
      remaining: reading?.remaining,
      // When a retry would pass all limits, not only this one.
      reset_at: decision.retryAt === null ? null : rfc3339(decision.retryAt),
    },
  })
}

/** Answers a caller that presents too many strings that nobody knows. */
export function throttled(c: AppContext): Response {
  c.var.log.subject = 'made-up'
  return problem(c, 'rate_limited')
}

/**
 * Answers a request in which there is not exactly one credential of an accepted form.
 * @param places tells who has presented nothing where that belongs
 */
export function refusedCredential(
  c: AppContext,
  fault: CredentialFault,
  places: string = PROBLEMS.missing_credential.meaning,
): Response {
  switch (fault) {
    case 'missing':
      return problem(c, 'missing_credential', { detail: places })
    case 'several':
      return problem(c, 'several_credentials')
    case 'malformed':
      return denied(c, 'not_found')
  }
}

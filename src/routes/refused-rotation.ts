import { HOUR_MS, SECOND_MS } from '../domain/time.ts'
import type { AppContext } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import type { ProblemCode } from '../http/problems.ts'

/** Answers a rotation that did not happen. Rotations of a key are counted by the hour. */
export function refusedRotation(c: AppContext, code: ProblemCode): Response {
  if (code !== 'rate_limited') return problem(c, code)
  const detail = 'A key is rotated at most ten times in an hour.'
  return problem(c, code, { detail, headers: { 'Retry-After': String(HOUR_MS / SECOND_MS) } })
}

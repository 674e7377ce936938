import { expect } from 'vitest'
import { type Answer, ORIGIN } from './client.ts'

/**
 * Expects a problem document (RFC 9457) of exactly the contract's shape, with the headers that its
 * status asks for. `pointers` names the faulty fields, in order.
 */
export function expectProblem(
  answer: Answer,
  status: number,
  code: string,
  pointers?: readonly string[],
): void {
  const { headers } = answer
  const errors = pointers?.map((pointer) => ({ pointer, detail: expect.any(String) }))
  expect({ status: answer.status, body: answer.body }).toEqual({
    status,
    body: {
      type: `${ORIGIN}/problems/${code}`,
      title: expect.stringMatching(/\S/),
      status,
      detail: expect.stringMatching(/\S/),
      instance: `/requests/${headers.get('x-request-id')}`,
      code,
      ...(errors === undefined ? {} : { errors }),
    },
  })
  expect(headers.get('content-type')).toBe('application/problem+json')
  expect(headers.get('cache-control')).toBe('no-store')
  if (status === 401) expect(headers.get('www-authenticate')).toMatch(challengeOf(code))
  if (status === 429 || status === 503) expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
}

/** RFC 6750 §3.1: an `error` only where a token was presented. */
function challengeOf(code: string): RegExp {
  return code === 'missing_credential' || code === 'invalid_credentials'
    ? /^Bearer realm="latchkey"$/
    : /^Bearer realm="latchkey", error="invalid_token", error_description="[^"]+"$/
}

/** A problem's body without what differs from request to request. */
export function withoutInstance(body: unknown): unknown {
  return typeof body === 'object' && body !== null ? { ...body, instance: undefined } : body
}

/** How many answers had each status: `{ 201: 1, 409: 49 }`. */
export function countStatuses(answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

export const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)

/** A TypeID of that prefix. */
export function anId(prefix: string): unknown {
  return expect.stringMatching(new RegExp(`^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$`))
}

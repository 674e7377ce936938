import type { Denial } from '../domain/evaluate-key.ts'
import { ACCESS_PROBLEMS, type ProblemTable } from './access-problems.ts'

/**
 * Every problem that Latchkey answers with (RFC 9457): its code, which is also the last
 * segment of its type URL, its HTTP status, its title, and what the page behind the URL says.
 */
export const PROBLEMS = {
  ...ACCESS_PROBLEMS,
  invalid_json: {
    status: 400,
    title: 'The body is not JSON',
    meaning: 'The request body could not be parsed as JSON.',
  },
  invalid_request: {
    status: 400,
    title: 'The request is not valid',
    meaning:
      'A field is missing, unknown, or out of its bounds. `errors` names each by its pointer.',
  },
  invalid_cursor: {
    status: 400,
    title: 'The cursor is not valid',
    meaning: 'A cursor comes from the `next_cursor` of an earlier page, unchanged.',
  },
  incomplete_body: {
    status: 400,
    title: 'The body was not complete',
    meaning: 'The connection ended before the body did. Nothing was changed.',
  },
  not_found: {
    status: 404,
    title: 'Not found',
    meaning: 'There is no such thing here, or it is not yours.',
  },
  method_not_allowed: {
    status: 405,
    title: 'The method is not allowed here',
    meaning: 'The path exists; Allow names the methods that it takes.',
  },
  request_timeout: {
    status: 408,
    title: 'The body did not come in time',
    meaning: 'A request body must be complete within 10 seconds. Nothing was changed: try again.',
  },
  username_taken: {
    status: 409,
    title: 'The username is taken',
    meaning: 'Usernames are unique, regardless of case and compatibility forms.',
  },
  device_name_taken: {
    status: 409,
    title: 'You have a device of that name',
    meaning: 'Device names are unique for each owner.',
  },
  cap_reached: {
    status: 409,
    title: 'There are as many as there may be',
    meaning:
      '`cap` names the setting and how many it allows. Delete what is not needed, or ask an ' +
      'administrator for more.',
  },
  key_revoked: {
    status: 409,
    title: 'The key is revoked',
    meaning: 'Revoking is final: a revoked key can be neither changed nor rotated.',
  },
  key_expired: {
    status: 409,
    title: 'The key has expired',
    meaning:
      'An expired key cannot be rotated: its new secret would be unusable. Give it a later ' +
      '`expires_at` first, or none.',
  },
  answer_not_kept: {
    status: 409,
    title: 'The answer cannot be given again',
    meaning:
      'The request was carried out. Its answer was sealed under a check secret that is not in ' +
      'force any more: read what was made, and rotate the key if the secret was lost.',
  },
  overlap_running: {
    status: 409,
    title: 'A rotation of this key still overlaps',
    meaning:
      'Two secrets of the key are live. Wait for the older one to end, or rotate with ' +
      'overlap_seconds 0, which ends both.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is too large',
    meaning: 'A request body may hold 64 KiB.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body is of another media type',
    meaning: 'Send application/json.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'The Idempotency-Key was used for something else',
    meaning:
      'Under this key another request was carried out: with another method, path or body. Use a ' +
      'new key for a new request.',
  },
  internal_error: {
    status: 500,
    title: 'Something went wrong here',
    meaning: 'The failure was logged under the request id.',
  },
  misconfigured: {
    status: 500,
    title: 'This deployment is not configured',
    meaning: '`detail` names each setting that is missing or malformed. Nothing is served.',
  },
  not_migrated: {
    status: 503,
    title: 'The database is older than the deployment',
    meaning: 'Its operator runs `npm run db:migrate:remote` (locally: `npm run db:migrate`).',
  },
  unavailable: {
    status: 503,
    title: 'Temporarily unavailable',
    meaning: 'No answer could be found, which says nothing about the credential. Try again.',
  },
} as const satisfies ProblemTable

export type ProblemCode = keyof typeof PROBLEMS

export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(PROBLEMS, code)
}

/** The problem that says a denial over HTTP: the same word, but for what was never issued. */
export function problemOfDenial(denial: Denial): ProblemCode {
  return denial === 'not_found' ? 'invalid_credential' : denial
}

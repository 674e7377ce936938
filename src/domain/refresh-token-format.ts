/**
 * The shape of a refresh token: `lkr_<26: the session id's suffix><32 base62: random><8: check>`.
 * It names its session, so that a spent one can end it.
 */

const PATTERN = /^lkr_([0-7][0-9a-hjkmnp-tv-z]{25})[0-9A-Za-z]{40}$/
const CHECK_LENGTH = 8

const SESSION_ID_PREFIX = 'sess'

type ParsedRefreshToken = {
  readonly sessionId: string
  readonly unchecked: string
  readonly check: string
}

export function parseRefreshToken(presented: string): ParsedRefreshToken | undefined {
  const suffix = PATTERN.exec(presented)?.[1]
  if (suffix === undefined) return undefined
  return {
    sessionId: `${SESSION_ID_PREFIX}_${suffix}`,
    unchecked: presented.slice(0, -CHECK_LENGTH),
    check: presented.slice(-CHECK_LENGTH),
  }
}

/** What a refresh token of the session begins with. */
export function refreshTokenStart(sessionId: string): string {
  return `lkr_${sessionId.slice(SESSION_ID_PREFIX.length + 1)}`
}

/**
 * Scopes: segments of letters, digits, `_`, `.` and `-`, joined by `:`. A held scope may end in the
 * segment `*`, which stands for one or more further segments; what is asked for is literal.
 */

export const SCOPE_MAX_CHARACTERS = 128
export const SCOPES_MAX = 64
/** Of all that a device asks for together, in UTF-8: anybody may ask. */
export const ASKED_SCOPES_MAX_BYTES = 1024

/** Verifies the devices of its own owner. */
export const VERIFY_OWN = 'keys:verify'
/** Verifies everyone's devices, while its owner is an admin. */
export const VERIFY_ALL = 'keys:verify-all'

/** Scopes over Latchkey itself. Under `keys:` there are no others. */
const OVER_KEYS = 'keys:'
const HOLDABLE_OVER_KEYS: ReadonlySet<string> = new Set([VERIFY_OWN, VERIFY_ALL])
const METRICS_READ = 'metrics:read'

const LITERAL = /^[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)*$/
const HELD = /^(?:[A-Za-z0-9_.-]+:)*(?:[A-Za-z0-9_.-]+|\*)$/

/** Whether a key may hold the scope. */
export function isHoldableScope(scope: string): boolean {
  if (scope.length > SCOPE_MAX_CHARACTERS || !HELD.test(scope)) return false
  return !scope.startsWith(OVER_KEYS) || HOLDABLE_OVER_KEYS.has(scope)
}

/** Whether a request may ask for the scope. */
export function isLiteralScope(scope: string): boolean {
  return scope.length <= SCOPE_MAX_CHARACTERS && LITERAL.test(scope)
}

/** The scopes that an operator keeps to itself: literal ones, and patterns that end in `*`. */
export type ReservedScopes = readonly string[]

/**
 * Whether one held scope covers one that is asked for. What is no scope is covered by nothing, and
 * no wildcard covers a reserved one.
 */
export function coversScope(held: string, asked: string, reserved: ReservedScopes): boolean {
  return isLiteralScope(asked) && includesScope(held, asked, reserved)
}

/** Whether everything that is asked for is covered by something that is held. */
export function coversScopes(
  held: readonly string[],
  asked: readonly string[],
  reserved: ReservedScopes,
): boolean {
  return asked.every((scope) => held.some((candidate) => coversScope(candidate, scope, reserved)))
}

/** What a wildcard covers, in plain words; undefined: the scope is no wildcard. */
export function reachOfWildcard(scope: string): string | undefined {
  if (scope === '*') return 'everything'
  return scope.endsWith(':*') ? `everything under ${scope.slice(0, -1)}` : undefined
}

/** Whether a scope is held literally or not at all: it is over Latchkey, or the operator's. */
export function isReservedScope(scope: string, reserved: ReservedScopes): boolean {
  if (scope.startsWith(OVER_KEYS) || scope === METRICS_READ) return true
  return reserved.some((pattern) => matches(pattern, scope))
}

/** Whether scopes to be held, wildcards included, are no wider than others that could be held. */
export function narrowsScopes(
  wide: readonly string[],
  narrow: readonly string[],
  reserved: ReservedScopes,
): boolean {
  return narrow.every(
    (scope) =>
      isHoldableScope(scope) && wide.some((candidate) => includesScope(candidate, scope, reserved)),
  )
}

function includesScope(wide: string, narrow: string, reserved: ReservedScopes): boolean {
  return wide === narrow || (matches(wide, narrow) && !isReservedScope(narrow, reserved))
}

/** Whether a scope is the pattern, or lies under its wildcard. */
function matches(pattern: string, scope: string): boolean {
  if (pattern === '*' || pattern === scope) return true
  // What follows the colon is at least one segment: no scope ends in a colon.
  return pattern.endsWith(':*') && scope.startsWith(pattern.slice(0, -1))
}

/** Whether only an admin may give a key this scope. */
export function needsAdmin(scope: string, reserved: ReservedScopes): boolean {
  return scope === VERIFY_ALL || reserved.some((pattern) => matches(pattern, scope))
}

/** Whose devices a key with these scopes may verify: its owner's, everyone's, or nobody's. */
export function verifierReach(
  held: readonly string[],
  ownerRole: 'user' | 'admin',
): 'own' | 'all' | undefined {
  if (ownerRole === 'admin' && held.includes(VERIFY_ALL)) return 'all'
  return held.includes(VERIFY_OWN) ? 'own' : undefined
}

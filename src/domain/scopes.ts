/**
 * Scopes: segments of letters, digits, `_`, `.` and `-`, joined by `:`. A held scope may end in the
 * segment `*`, which stands for one or more further segments; what is asked for is literal.
 */

export const SCOPE_MAX_CHARACTERS = 128
export const SCOPES_MAX = 64

/** Verifies the devices of its own owner. */
export const VERIFY_OWN = 'keys:verify'
/** Verifies everyone's devices, while its owner is an admin. */
export const VERIFY_ALL = 'keys:verify-all'

/** Scopes over keys themselves: no wildcard covers them, and there are no others. */
const RESERVED = 'keys:'
const RESERVED_SCOPES: ReadonlySet<string> = new Set([VERIFY_OWN, VERIFY_ALL])

const LITERAL = /^[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)*$/
const HELD = /^(?:[A-Za-z0-9_.-]+:)*(?:[A-Za-z0-9_.-]+|\*)$/

/** Whether a key may hold the scope. */
export function isHoldableScope(scope: string): boolean {
  if (scope.length > SCOPE_MAX_CHARACTERS || !HELD.test(scope)) return false
  return !scope.startsWith(RESERVED) || RESERVED_SCOPES.has(scope)
}

/** Whether a request may ask for the scope. */
export function isLiteralScope(scope: string): boolean {
  return scope.length <= SCOPE_MAX_CHARACTERS && LITERAL.test(scope)
}

/** Whether one held scope covers one that is asked for. What is no scope is covered by nothing. */
export function coversScope(held: string, asked: string): boolean {
  if (!isLiteralScope(asked)) return false
  if (held === asked) return true
  if (asked.startsWith(RESERVED)) return false
  if (held === '*') return true
  // The rest of `asked` is at least one segment: it is literal, so nothing ends in a colon.
  return held.endsWith(':*') && asked.startsWith(held.slice(0, -1))
}

/** Whether everything that is asked for is covered by something that is held. */
export function coversScopes(held: readonly string[], asked: readonly string[]): boolean {
  return asked.every((scope) => held.some((candidate) => coversScope(candidate, scope)))
}

/** Whether a scope is over keys themselves. */
export function isReservedScope(scope: string): boolean {
  return scope.startsWith(RESERVED)
}

/** Whether scopes to be held, wildcards included, are no wider than others that could be held. */
export function narrowsScopes(wide: readonly string[], narrow: readonly string[]): boolean {
  return narrow.every(
    (scope) => isHoldableScope(scope) && wide.some((candidate) => includesScope(candidate, scope)),
  )
}

function includesScope(wide: string, narrow: string): boolean {
  if (wide === narrow) return true
  if (isReservedScope(narrow)) return false
  return wide === '*' || (wide.endsWith(':*') && narrow.startsWith(wide.slice(0, -1)))
}

/** Whether a user of that role may give a key these scopes. */
export function mayGiveScopes(role: 'user' | 'admin', scopes: readonly string[]): boolean {
  return role === 'admin' || !scopes.includes(VERIFY_ALL)
}

/** Whose devices a key with these scopes may verify: its owner's, everyone's, or nobody's. */
export function verifierReach(
  held: readonly string[],
  ownerRole: 'user' | 'admin',
): 'own' | 'all' | undefined {
  if (ownerRole === 'admin' && held.includes(VERIFY_ALL)) return 'all'
  return held.includes(VERIFY_OWN) ? 'own' : undefined
}

/**
 * The shape of a secret: `<prefix>_<32 base62: random><8 base62: check>`.
 * What the check is made of is in crypto/key-check.ts.
 */

/** 32 base62 characters carry 190.5 bits. */
export const RANDOM_LENGTH = 32
/** 8 base62 characters hold the 47 bits of a check. */
export const CHECK_LENGTH = 8

export const KEY_PREFIX_PATTERN = /^[a-z][a-z0-9]{1,11}$/

const CHECKED_TAIL = /^[0-9A-Za-z]{40}$/
const IMPORTABLE = /^[\x21-\x7e]{16,256}$/
const HINT_CHARACTERS = 6

type PresentedSecret =
  /** Begins with our prefix and has its shape: the check decides whether it can be genuine. */
  | { readonly kind: 'checked'; readonly unchecked: string; readonly check: string }
  /** Of another system's making: it can only be one that was imported. */
  | { readonly kind: 'foreign' }
  | { readonly kind: 'malformed' }

/** Sorts a presented string, by its shape alone. */
export function parsePresentedSecret(presented: string, prefix: string): PresentedSecret {
  const start = `${prefix}_`
  if (presented.startsWith(start)) {
    if (!CHECKED_TAIL.test(presented.slice(start.length))) return { kind: 'malformed' }
    return {
      kind: 'checked',
      unchecked: presented.slice(0, -CHECK_LENGTH),
      check: presented.slice(-CHECK_LENGTH),
    }
  }
  return { kind: IMPORTABLE.test(presented) ? 'foreign' : 'malformed' }
}

/** The part of a secret that is safe to show and to log: `lk_9fQ2xB…`. */
export function hintOf(secret: string, prefix: string): string {
  return `${secret.slice(0, prefix.length + 1 + HINT_CHARACTERS)}…`
}

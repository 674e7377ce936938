/** What people may call themselves and their devices. Lengths count code points. */

export const NAME_MAX_CHARACTERS = 80
const USERNAME_MIN_CHARACTERS = 3
const USERNAME_MAX_CHARACTERS = 64

/**
 * Controls (Cc), line and paragraph separators, lone surrogates (Cs), and the bidirectional
 * embeddings, overrides and isolates that can make one name look like another (Unicode TR 36).
 */
const FORBIDDEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202A-\u202E\u2066-\u2069]/u

/** What is drawn as nothing, or only changes how its neighbours are drawn (RFC 8264 §9.13). */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Bidi_Control}\u2800]/u

function characters(text: string): number {
  return Array.from(text).length
}

/**
 * A device's or key's name, trimmed and in Unicode normal form C, or undefined when it may not be
 * one. Invisible characters join emoji and shape scripts, so they may stand beside something
 * visible.
 */
export function normalizeName(name: string): string | undefined {
  if (FORBIDDEN.test(name)) return undefined
  const normal = name.trim().normalize('NFC')
  if (characters(normal) > NAME_MAX_CHARACTERS) return undefined
  const hasVisible = Array.from(normal).some((one) => !INVISIBLE.test(one) && one.trim() !== '')
  return hasVisible ? normal : undefined
}

/** A name with something after it, cut short where the whole would be too long. */
export function withSuffix(name: string, suffix: string): string {
  const kept = Array.from(name).slice(0, NAME_MAX_CHARACTERS - characters(suffix))
  return kept.join('') + suffix
}

/**
 * A username in normal form C, or undefined when it may not be one. It has neither white space nor
 * anything invisible, by which it could look like another's.
 */
export function normalizeUsername(username: string): string | undefined {
  const normal = username.normalize('NFC')
  const length = characters(normal)
  if (length < USERNAME_MIN_CHARACTERS || length > USERNAME_MAX_CHARACTERS) return undefined
  if (/\s/u.test(normal) || FORBIDDEN.test(normal) || INVISIBLE.test(normal)) return undefined
  return normal
}

/**
 * A text as searches compare it: compatibility forms and cases folded, in every script, which
 * SQLite's `lower` does for ASCII only. Upper case first: ß and SS are one then. The two small
 * sigmas are one as well.
 */
export function foldForSearch(text: string): string {
  const upper = text.normalize('NFKC').toUpperCase()
  return upper.toLowerCase().replaceAll('ς', 'σ').normalize('NFKC')
}

/** What makes two usernames the same: compatibility forms folded, in lower case. */
export function usernameKey(username: string): string {
  return username.normalize('NFKC').toLowerCase().normalize('NFKC')
}

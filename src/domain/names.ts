/** What people may call themselves and their devices. Lengths count code points. */

export const NAME_MAX_CHARACTERS = 80
const USERNAME_MIN_CHARACTERS = 3
const USERNAME_MAX_CHARACTERS = 64

/**
 * Controls (Cc), line and paragraph separators, lone surrogates (Cs), and the bidirectional
 * embeddings, overrides and isolates that can make one name look like another (Unicode TR 36).
 */
const FORBIDDEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202A-\u202E\u2066-\u2069]/u

function characters(text: string): number {
  return Array.from(text).length
}

/** A device's or key's name in Unicode normal form C, or undefined when it may not be one. */
export function normalizeName(name: string): string | undefined {
  const normal = name.normalize('NFC')
  const length = characters(normal)
  if (length < 1 || length > NAME_MAX_CHARACTERS) return undefined
  if (normal.trim() === '' || FORBIDDEN.test(normal)) return undefined
  return normal
}

/** A name with something after it, cut short where the whole would be too long. */
export function withSuffix(name: string, suffix: string): string {
  const kept = Array.from(name).slice(0, NAME_MAX_CHARACTERS - characters(suffix))
  return kept.join('') + suffix
}

/** A username in normal form C, or undefined when it may not be one. It has no white space. */
export function normalizeUsername(username: string): string | undefined {
  const normal = username.normalize('NFC')
  const length = characters(normal)
  if (length < USERNAME_MIN_CHARACTERS || length > USERNAME_MAX_CHARACTERS) return undefined
  if (/\s/u.test(normal) || FORBIDDEN.test(normal)) return undefined
  return normal
}

/** What makes two usernames the same: compatibility forms folded, in lower case. */
export function usernameKey(username: string): string {
  return username.normalize('NFKC').toLowerCase().normalize('NFKC')
}

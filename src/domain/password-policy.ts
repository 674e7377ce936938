import { usernameKey } from './names.ts'

/** What a new password may be. NIST SP 800-63B: its length counts, its composition does not. */
export const PASSWORD_MIN_CHARACTERS = 8
export const PASSWORD_MAX_CHARACTERS = 128

/** Almost every password contains a username of one or two characters. */
const USERNAME_MIN_CHARACTERS = 3

/**
 * A password in the form that is hashed (the OpaqueString profile, RFC 8265 §4.2.2): two keyboards
 * that write the same letters in different code points make the same password.
 */
export function normalizePassword(password: string): string {
  return password.replaceAll(/\p{Zs}/gu, ' ').normalize('NFC')
}

/** Whether a normalized password may be set: RFC 8265 §4.2 allows no control characters. */
export function isAllowedPassword(password: string): boolean {
  const length = Array.from(password).length
  const isLong = length >= PASSWORD_MIN_CHARACTERS && length <= PASSWORD_MAX_CHARACTERS
  return isLong && !/[\p{Cc}\p{Cs}]/u.test(password)
}

/** A password as the list of common ones and usernames are compared with it: without its case. */
export function foldPassword(password: string): string {
  return usernameKey(password)
}

/** Whether a password contains the username, which whoever guesses knows. */
export function containsUsername(password: string, username: string): boolean {
  const key = usernameKey(username)
  const isLong = Array.from(key).length >= USERNAME_MIN_CHARACTERS
  return isLong && foldPassword(password).includes(key)
}

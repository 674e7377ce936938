/** What a new password may be. NIST SP 800-63B: its length counts, its composition does not. */
export const PASSWORD_MIN_CHARACTERS = 8
export const PASSWORD_MAX_CHARACTERS = 128

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

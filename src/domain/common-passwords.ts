import { mayHold } from './bloom-filter.ts'
import { COMMON_PASSWORDS_FILTER } from './common-passwords-filter.ts'
import { foldPassword } from './password-policy.ts'

const filter = Buffer.from(COMMON_PASSWORDS_FILTER, 'base64')

/**
 * Whether so many people use a password that guessing begins with it (NIST SP 800-63B calls for a
 * list of these). It says the same of fewer than 1 in 1,000 other passwords.
 */
export function isCommonPassword(password: string): boolean {
  return mayHold(filter, foldPassword(password))
}

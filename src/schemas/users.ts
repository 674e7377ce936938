import * as z from 'zod'
import { isCommonPassword } from '../domain/common-passwords.ts'
import {
  containsUsername,
  isAllowedPassword,
  normalizePassword,
  PASSWORD_MAX_CHARACTERS,
  PASSWORD_MIN_CHARACTERS,
} from '../domain/password-policy.ts'
import { normalizeUsername } from '../domain/names.ts'

const username = z.string().transform((text, context) => {
  const normal = normalizeUsername(text)
  if (normal !== undefined) return normal
  context.addIssue({
    code: 'custom',
    message: 'must be 3 to 64 characters without white space, control or invisible characters',
  })
  return z.NEVER
})

/** A password where one is set. */
const newPassword = z
  .string()
  .transform(normalizePassword)
  .refine(isAllowedPassword, {
    error:
      `must be ${PASSWORD_MIN_CHARACTERS} to ${PASSWORD_MAX_CHARACTERS} characters, ` +
      'no control character among them',
    abort: true,
  })
  .refine((password) => !isCommonPassword(password), 'must not be one that many people use')

export const CONTAINS_USERNAME = 'must not contain the username'

/** Refuses a password that contains the username which is set with it. */
export function refuseUsername(
  { username, password }: { readonly username: string; readonly password: string },
  context: z.RefinementCtx,
): void {
  if (!containsUsername(password, username)) return
  context.addIssue({ code: 'custom', path: ['password'], message: CONTAINS_USERNAME })
}

/** A password where one is presented, as given: old ones were made under other policies. */
export const presentedPassword = z.string().max(1024)

export const registration = z
  .strictObject({ username, password: newPassword })
  .superRefine(refuseUsername)

export const passwordChange = z.strictObject({
  current_password: presentedPassword,
  password: newPassword,
})

export const accountDeletion = z.strictObject({ current_password: presentedPassword })

import * as z from 'zod'
import {
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
  .refine(
    isAllowedPassword,
    `must be ${PASSWORD_MIN_CHARACTERS} to ${PASSWORD_MAX_CHARACTERS} characters, ` +
      'no control character among them',
  )

/** A password where one is presented, as given: old ones were made under other policies. */
export const presentedPassword = z.string().max(1024)

export const registration = z.strictObject({ username, password: newPassword })

export const passwordChange = z.strictObject({
  current_password: presentedPassword,
  password: newPassword,
})

export const accountDeletion = z.strictObject({ current_password: presentedPassword })

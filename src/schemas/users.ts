import * as z from 'zod'
import { PASSWORD_MAX_CHARACTERS, PASSWORD_MIN_CHARACTERS } from '../domain/password-policy.ts'
import { normalizeUsername } from '../domain/names.ts'

const username = z.string().transform((text, context) => {
  const normal = normalizeUsername(text)
  if (normal !== undefined) return normal
  context.addIssue({
    code: 'custom',
    message: 'must be 3 to 64 characters without white space or control characters',
  })
  return z.NEVER
})

/** A password where one is set: kept as given, only its length counts. */
const newPassword = z.string().refine((password) => {
  const length = Array.from(password).length
  return length >= PASSWORD_MIN_CHARACTERS && length <= PASSWORD_MAX_CHARACTERS
}, `must be ${PASSWORD_MIN_CHARACTERS} to ${PASSWORD_MAX_CHARACTERS} characters`)

/** A password where one is presented: old ones were made under other policies. */
export const presentedPassword = z.string().max(1024)

export const registration = z.strictObject({ username, password: newPassword })

export const passwordChange = z.strictObject({
  current_password: presentedPassword,
  password: newPassword,
})

export const accountDeletion = z.strictObject({ current_password: presentedPassword })

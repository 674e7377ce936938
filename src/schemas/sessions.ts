import * as z from 'zod'
import { presentedPassword } from './users.ts'

export const signIn = z.strictObject({
  username: z.string().max(1024),
  password: presentedPassword,
})

export const refresh = z.strictObject({ refresh_token: z.string() })

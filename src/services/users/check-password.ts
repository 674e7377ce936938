import { eq } from 'drizzle-orm'
import { matchPassword } from '../../crypto/password.ts'
import { openDatabase } from '../../db/client.ts'
import { users } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { VerifyContext } from '../context.ts'

/** The user's stored hash, if the password is the one that it was made of. */
export async function checkPassword(
  { database }: VerifyContext,
  { userId, password }: { readonly userId: string; readonly password: string },
): Promise<Result<string, 'wrong_password'>> {
  const [user] = await openDatabase(database)
    .select({ passwordHash: users.passwordHash })
    .from(users)
    .where(eq(users.id, userId))
  if (user === undefined || matchPassword(password, user.passwordHash) === undefined) {
    return err('wrong_password')
  }
  return ok(user.passwordHash)
}

import { newId } from '../../crypto/ids.ts'
import { hashPassword } from '../../crypto/password.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { users } from '../../db/schema.ts'
import { usernameKey } from '../../domain/names.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'

export type User = {
  readonly id: string
  readonly username: string
  readonly role: 'user' | 'admin'
  readonly createdAt: number
}

/** Makes an account. The username must be normalized (domain/names.ts). */
export async function registerUser(
  ctx: AuditContext,
  { username, password }: { readonly username: string; readonly password: string },
): Promise<Result<User, 'username_taken'>> {
  const user: User = { id: newId('user'), username, role: 'user', createdAt: ctx.now }
  const passwordHash = hashPassword(password, ctx.settings.passwordAlgorithm)
  const actor = { type: 'visitor', userId: user.id } as const
  const change = openChange(
    { ...ctx, actor },
    { action: 'user.created', userId: user.id, after: { username, role: user.role } },
  )
  try {
    await commit(change, {
      user: change.insert(users, { ...user, usernameKey: usernameKey(username), passwordHash }),
    })
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'users.username_key') return err('username_taken')
    throw thrown
  }
  return ok(user)
}

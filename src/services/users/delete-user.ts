import { and, eq, sql } from 'drizzle-orm'
import { devices, sessions, signInFailures, signInNetworks, users } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { removeDevices } from '../devices/remove-devices.ts'
import { checkPassword } from './check-password.ts'

/**
 * Deletes an account and all that it owns, if the current password is right. The hashes of its
 * secrets stay as tombstones, so that a late caller is told `revoked` and no import revives them;
 * its audit events stay as well.
 */
export async function deleteUser(
  ctx: AuditContext,
  { userId, currentPassword }: { readonly userId: string; readonly currentPassword: string },
): Promise<Result<void, 'wrong_password'>> {
  const checked = await checkPassword(ctx, { userId, password: currentPassword })
  if (!checked.ok) return checked
  const theirs = and(eq(users.id, userId), eq(users.passwordHash, checked.value))
  const change = openChange(
    ctx,
    {
      action: 'user.deleted',
      userId,
      before: sql`(select json_object('username', ${users.username}) from ${users}
        where ${theirs})`,
    },
    sql`exists (select 1 from ${users} where ${theirs})`,
  )
  const { happened } = await commitThenEvict(change, userId, {
    ended: change.endTokens(userId),
    ...removeDevices(change, userId, eq(devices.userId, userId)),
    sessions: change.remove(sessions, eq(sessions.userId, userId)),
    failures: change.remove(signInFailures, eq(signInFailures.userId, userId)),
    networks: change.remove(signInNetworks, eq(signInNetworks.userId, userId)),
    user: change.remove(users, eq(users.id, userId)),
  })
  return happened ? ok(undefined) : err('wrong_password')
}

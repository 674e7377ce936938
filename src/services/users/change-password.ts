import { and, eq, ne, sql } from 'drizzle-orm'
import { hashPassword } from '../../crypto/password.ts'
import { sessions, signInNetworks, users } from '../../db/schema.ts'
import { originOf } from '../../domain/network.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import { withdrawClaims } from '../changes/withdraw-claims.ts'
import type { AuditContext } from '../context.ts'
import { liveSessionOf } from '../sessions/sessions.ts'
import { checkPassword } from './check-password.ts'

/**
 * Sets a new password, if the current one is right. Every other session ends, and what was approved
 * and not handed out yet is withdrawn: a thief may have approved it.
 */
export async function changePassword(
  ctx: AuditContext,
  input: {
    readonly userId: string
    /** The session that goes on. */
    readonly sessionId: string
    readonly currentPassword: string
    readonly newPassword: string
  },
): Promise<Result<void, 'wrong_password'>> {
  const { userId, sessionId, currentPassword, newPassword } = input
  const checked = await checkPassword(ctx, { userId, password: currentPassword })
  if (!checked.ok) return checked
  const passwordHash = hashPassword(newPassword, ctx.settings.passwordAlgorithm)
  // The verified hash guards the change: of two changes at once, one finds it gone.
  const verified = and(eq(users.id, userId), eq(users.passwordHash, checked.value))
  const change = openChange(
    ctx,
    { action: 'user.password_changed', userId },
    sql`exists (select 1 from ${users} where ${verified})`,
  )
  const others = and(liveSessionOf(userId, ctx.now), ne(sessions.id, sessionId))
  const { happened } = await commit(change, {
    user: change.update(users, { passwordHash }, eq(users.id, userId)),
    sessions: change.update(sessions, { revokedAt: ctx.now }, others),
    // A thief may have signed in from elsewhere: no other network is the account's own any more.
    networks: change.remove(
      signInNetworks,
      and(eq(signInNetworks.userId, userId), ne(signInNetworks.network, originOf(ctx.ip).network)),
    ),
    claims: withdrawClaims(change, { userId }),
  })
  return happened ? ok(undefined) : err('wrong_password')
}

import { factory } from '../http/env.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { problem } from '../http/problem.ts'
import { validBody } from '../http/validate.ts'
import { accountDeletion, passwordChange, registration } from '../schemas/users.ts'
import {
  changePassword,
  deleteUser,
  registerUser,
  type User,
} from '../services/users/register-user.ts'
import { changeOf } from '../http/auth/audit-context.ts'
import { mayTryPassword } from '../http/auth/password-attempt.ts'
import { timestamp } from './wire.ts'

/** Accounts: registration, and what a signed-in user does with their own. */
export const users = factory
  .createApp()
  .post('/v1/users', validBody(registration), async (c) => {
    const { settings } = c.var
    if (settings.registration === 'closed') return problem(c, 'registration-closed')
    const { username, password } = c.req.valid('json')
    if (!(await mayTryPassword(c, username))) return problem(c, 'rate-limited')
    const input = { username, password }
    const registered = await registerUser(changeOf(c, null), input, settings.passwordAlgorithm)
    if (!registered.ok) return problem(c, 'username-taken')
    c.var.log.userId = registered.value.id
    return c.json(presentUser(registered.value), 201)
  })
  .get('/v1/me', requireUser(), (c) => c.json(presentUser(c.var.user)))
  .patch('/v1/me', requireUser(), validBody(passwordChange), async (c) => {
    const { user, settings } = c.var
    if (!(await mayTryPassword(c, user.username))) return problem(c, 'rate-limited')
    const { current_password: current, password: next } = c.req.valid('json')
    const changed = await changePassword(
      changeOf(c, user.id),
      { userId: user.id, sessionId: user.sessionId },
      { current, next },
      settings.passwordAlgorithm,
    )
    return changed.ok ? c.json(presentUser(user)) : problem(c, 'wrong-password')
  })
  .delete('/v1/me', requireUser(), validBody(accountDeletion), async (c) => {
    const { user } = c.var
    if (!(await mayTryPassword(c, user.username))) return problem(c, 'rate-limited')
    const { current_password: password } = c.req.valid('json')
    const deleted = await deleteUser(changeOf(c, user.id), user.id, password)
    return deleted.ok ? c.body(null, 204) : problem(c, 'wrong-password')
  })

function presentUser(user: User) {
  return {
    id: user.id,
    username: user.username,
    role: user.role,
    created_at: timestamp(user.createdAt),
  }
}

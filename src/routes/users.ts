import { containsUsername } from '../domain/password-policy.ts'
import { rfc3339 } from '../domain/time.ts'
import { admit } from '../http/auth/admit.ts'
import { userContextOf, visitorContextOf } from '../http/auth/contexts.ts'
import { PASSWORD } from '../http/auth/doors.ts'
import { throttled } from '../http/auth/refuse.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import { validBody } from '../http/validate.ts'
import {
  accountDeletion,
  CONTAINS_USERNAME,
  passwordChange,
  registration,
} from '../schemas/users.ts'
import { changePassword } from '../services/users/change-password.ts'
import { deleteUser } from '../services/users/delete-user.ts'
import { registerUser, type User } from '../services/users/register-user.ts'

/** Accounts: registration, and what a signed-in user does with their own. */
export const users = factory
  .createApp()
  .post('/v1/users', validBody(registration), async (c) => {
    if (c.var.settings.registration === 'closed') return problem(c, 'registration_closed')
    const input = c.req.valid('json')
    const admitted = await admit(c, PASSWORD, input)
    if (!admitted.ok) return throttled(c)
    const registered = await registerUser(visitorContextOf(c, admitted.value), input)
    if (!registered.ok) return problem(c, registered.reason)
    c.var.log.userId = registered.value.id
    return c.json(toWire(registered.value), 201)
  })
  .get('/v1/me', requireUser(), (c) => c.json(toWire(c.var.user)))
  .patch('/v1/me', requireUser(), validBody(passwordChange), async (c) => {
    const { user } = c.var
    const { current_password: currentPassword, password: newPassword } = c.req.valid('json')
    if (containsUsername(newPassword, user.username)) {
      const errors = [{ pointer: '/password', detail: CONTAINS_USERNAME }]
      return problem(c, 'invalid_request', { errors })
    }
    if (!(await admit(c, PASSWORD, user)).ok) return throttled(c)
    const changed = await changePassword(userContextOf(c), {
      userId: user.id,
      sessionId: user.sessionId,
      currentPassword,
      newPassword,
    })
    return changed.ok ? c.json(toWire(user)) : problem(c, changed.reason)
  })
  .delete('/v1/me', requireUser(), validBody(accountDeletion), async (c) => {
    const { user } = c.var
    if (!(await admit(c, PASSWORD, user)).ok) return throttled(c)
    const { current_password: currentPassword } = c.req.valid('json')
    const deleted = await deleteUser(userContextOf(c), { userId: user.id, currentPassword })
    return deleted.ok ? c.body(null, 204) : problem(c, deleted.reason)
  })

function toWire(user: User) {
  return {
    id: user.id,
    username: user.username,
    role: user.role,
    created_at: rfc3339(user.createdAt),
  }
}

import { chargePasswordAttempt } from '../../services/users/charge-password-attempt.ts'
import { clientIp } from '../client.ts'
import type { AppContext } from '../env.ts'

/** Charges this request's password attempt. Every door that hashes calls it before it does. */
export async function mayTryPassword(c: AppContext, username: string): Promise<boolean> {
  const allowed = await chargePasswordAttempt(c.env, { ip: clientIp(c), username })
  if (!allowed) c.var.log.subject = 'made-up'
  return allowed
}

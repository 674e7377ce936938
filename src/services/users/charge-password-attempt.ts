import { usernameKey } from '../../domain/names.ts'
import { limitedNetwork } from '../../domain/network.ts'
import { chargeLimiter } from '../charge-limiter.ts'

/** The two limiters that stand before every password hash. */
type PasswordLimiters = Pick<Env, 'PASSWORD_LIMITER_IP' | 'PASSWORD_LIMITER_USERNAME'>

/**
 * Charges one password attempt: 60 a minute for an IP, 10 a minute for a username from that IP.
 * A hash blocks the isolate for some 150 ms, so this comes first. Callers without an address
 * (no edge before the Worker) share one.
 * @returns whether the attempt may go on
 */
export async function chargePasswordAttempt(
  limiters: PasswordLimiters,
  { ip, username }: { readonly ip: string | null; readonly username: string },
): Promise<boolean> {
  const network = limitedNetwork(ip ?? 'none')
  if (!(await chargeLimiter(limiters.PASSWORD_LIMITER_IP, network))) return false
  const key = `${network} ${usernameKey(username)}`
  return await chargeLimiter(limiters.PASSWORD_LIMITER_USERNAME, key)
}

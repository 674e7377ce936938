import type { SignedInUser } from '../../services/sessions/access-token.ts'
import type { AppContext } from '../env.ts'
import { problem } from '../problem.ts'

/** What a cap counts: the devices of the signed-in user, or the live keys of a device. */
type Capped = 'devices' | 'keys'

/** Answers a change that would make one more than the cap allows. */
export function capReached(
  c: AppContext & { readonly var: { readonly user: SignedInUser } },
  capped: Capped,
): Response {
  const { settings, user } = c.var
  if (capped === 'devices') {
    const cap = { name: 'user_max_devices', max: user.maxDevices ?? settings.userMaxDevices }
    const detail = `You may have at most ${cap.max} devices.`
    return problem(c, 'cap_reached', { detail, members: { cap } })
  }
  const cap = { name: 'device_max_keys', max: settings.deviceMaxKeys }
  const detail = `A device may have at most ${cap.max} live keys.`
  return problem(c, 'cap_reached', { detail, members: { cap } })
}

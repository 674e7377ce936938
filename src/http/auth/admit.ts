import { originOf } from '../../domain/network.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { chargeLimiter } from '../../services/charge-limiter.ts'
import type { VerifyContext } from '../../services/context.ts'
import { clientIp } from '../client.ts'
import type { AppContext } from '../env.ts'
import { LockedIo } from '../locked-io.ts'
import type { ChargedDoor, FreeDoor } from './doors.ts'

/**
 * Hands over the database and the objects at a door, and is the only thing that does: a route
 * without a door cannot reach them, since its types leave them out. A door that charges does so
 * first, and hands over nothing where a limiter says no.
 * @throws Unavailable when a limiter does not answer
 * @example
 *     const admitted = await admit(c, PASSWORD, { username })
 *     if (!admitted.ok) return throttled(c)
 *     const opened = await signIn(visitorContextOf(c, admitted.value), input)
 */
export function admit(c: AppContext, door: FreeDoor): VerifyContext
export function admit<Who>(
  c: AppContext,
  door: ChargedDoor<Who>,
  who: Who,
): Promise<Result<VerifyContext, 'rate_limited'>>
export function admit<Who>(c: AppContext, door: FreeDoor | ChargedDoor<Who>, who?: Who) {
  if (door.chargesOf === undefined) return contextOf(c)
  if (who === undefined) throw new TypeError(`the door ${door.name} charges somebody`)
  return admitCharged(c, door, who)
}

async function admitCharged<Who>(
  c: AppContext,
  door: ChargedDoor<Who>,
  who: Who,
): Promise<Result<VerifyContext, 'rate_limited'>> {
  const origin = originOf(clientIp(c))
  for (const [limiter, key] of door.chargesOf(origin, who)) {
    if (!(await chargeLimiter(c.env[limiter], key))) return err('rate_limited')
  }
  return ok(contextOf(c))
}

function contextOf(c: AppContext): VerifyContext {
  const { DB: database, DEVICE_STATE: states } = LockedIo.unlock(c.var.io)
  const { settings, isolate, now } = c.var
  return { database, states, settings, isolate, now }
}

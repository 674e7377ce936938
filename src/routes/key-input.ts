import type * as z from 'zod'
import { err, ok, type Result } from '../domain/result.ts'
import { needsAdmin } from '../domain/scopes.ts'
import { SECOND_MS } from '../domain/time.ts'
import type { FieldError } from '../http/problem-types.ts'
import type { keyPolicy } from '../schemas/keys.ts'
import type { Settings } from '../settings.ts'
import type { KeyInput } from '../services/keys/key-row.ts'

type KeyPolicy = z.output<typeof keyPolicy>

/** What decides about a policy beside its schema: when it is asked for, and by whom. */
export type PolicyAsker = {
  readonly now: number
  readonly user: { readonly role: 'user' | 'admin' }
  readonly settings: Pick<Settings, 'reservedScopes'>
}

/**
 * The wire's key policy in the services' words: one expiry, in milliseconds.
 * @param at the pointer of the policy in the body
 * @returns the faults that need the clock or the user to be seen, if there are any
 */
export function keyInputOf(
  policy: KeyPolicy,
  asker: PolicyAsker,
  at: '' | '/key' = '',
): Result<KeyInput, FieldError[]> {
  const { now } = asker
  const { name, scopes, expires_at: expiresAt, expires_in: expiresIn, quota } = policy
  const { rate_limit: rate, self_rotation: selfRotation } = policy
  const errors = scopeFaults(scopes, asker, `${at}/scopes`)
  if (typeof expiresAt === 'number' && expiresAt <= now) {
    errors.unshift({ pointer: `${at}/expires_at`, detail: 'must be in the future' })
  }
  if (errors.length > 0) return err(errors)
  return ok({
    name,
    scopes,
    quota,
    selfRotation,
    rateLimit: rate && { limit: rate.limit, windowSeconds: rate.window_seconds },
    expiresAt: expiresIn === undefined ? expiresAt : now + expiresIn * SECOND_MS,
  })
}

/** What is wrong with scopes that this user gives to a key. */
export function scopeFaults(
  scopes: readonly string[] = [],
  { user, settings }: PolicyAsker,
  pointer: string,
): FieldError[] {
  if (user.role === 'admin') return []
  const refused = scopes.filter((scope) => needsAdmin(scope, settings.reservedScopes))
  if (refused.length === 0) return []
  return [{ pointer, detail: `${refused.join(', ')} needs an admin` }]
}

import type * as z from 'zod'
import { err, ok, type Result } from '../domain/result.ts'
import { SECOND_MS } from '../domain/time.ts'
import type { FieldError } from '../http/problem-types.ts'
import type { keyPolicy } from '../schemas/keys.ts'
import type { KeyInput } from '../services/keys/key-row.ts'

type KeyPolicy = z.output<typeof keyPolicy>

/**
 * The wire's key policy in the services' words: one expiry, in milliseconds.
 * @param at the pointer of the policy in the body
 * @returns or what is wrong with it at the time of the request, which no schema knows
 */
export function keyInputOf(
  policy: KeyPolicy,
  { now }: { readonly now: number },
  at: '' | '/key' = '',
): Result<KeyInput, FieldError[]> {
  const { name, scopes, expires_at: expiresAt, expires_in: expiresIn, quota } = policy
  const { rate_limit: rate, self_rotation: selfRotation } = policy
  if (typeof expiresAt === 'number' && expiresAt <= now) {
    return err([{ pointer: `${at}/expires_at`, detail: 'must be in the future' }])
  }
  return ok({
    name,
    scopes,
    quota,
    selfRotation,
    rateLimit: rate && { limit: rate.limit, windowSeconds: rate.window_seconds },
    expiresAt: expiresIn === undefined ? expiresAt : now + expiresIn * SECOND_MS,
  })
}

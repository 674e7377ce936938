import type * as z from 'zod'
import { SECOND_MS } from '../domain/time.ts'
import type { keyPolicy } from '../schemas/keys.ts'
import type { KeyInput } from '../services/keys/key-row.ts'

type KeyPolicy = z.output<typeof keyPolicy>

/** The wire's key policy in the services' words: one expiry, in milliseconds. */
export function keyInputOf(policy: KeyPolicy, now: number): KeyInput {
  const { name, scopes, expires_at: expiresAt, expires_in: expiresIn, quota } = policy
  const { rate_limit: rate, self_rotation: selfRotation } = policy
  return {
    name,
    scopes,
    quota,
    selfRotation,
    rateLimit: rate && { limit: rate.limit, windowSeconds: rate.window_seconds },
    expiresAt: expiresIn === undefined ? expiresAt : now + expiresIn * SECOND_MS,
  }
}

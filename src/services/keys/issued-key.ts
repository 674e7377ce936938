import { sha256 } from '../../crypto/digest.ts'
import type { NewSecret } from '../../crypto/secrets.ts'
import { ok, type Result } from '../../domain/result.ts'
import type { HandedOut, Reused } from '../changes/idempotency.ts'
import type { VerifyContext } from '../context.ts'
import { findKey, type Key } from './find-keys.ts'

/** A key with the secret that was made for it: known in this answer, and nowhere else. */
export type IssuedKey = {
  readonly key: Key
  /** Null in a repeated answer whose secret was used or has ended since. */
  readonly secret: string | null
  readonly isUsed: boolean
  /** Whether this is the answer to a repeated request. */
  readonly isReplay: boolean
}

export function issuedNow(key: Key, { secret }: NewSecret): Result<IssuedKey, never> {
  return ok({ key, secret, isUsed: false, isReplay: false })
}

/**
 * What was handed out before, once more. The key is read anew; the secret is in it only until it
 * was first used: from then on somebody is known to hold it.
 */
export async function issuedAgain(
  ctx: VerifyContext,
  userId: string,
  repeated: Result<HandedOut, Reused>,
): Promise<Result<IssuedKey, 'not_found' | Reused>> {
  if (!repeated.ok) return repeated
  const { deviceId = '', keyId = '', secret = '' } = repeated.value
  const found = await findKey(ctx, { userId, deviceId, keyId })
  if (!found.ok) return found
  const key = found.value
  const hash = await sha256(secret)
  const live = key.secrets.find((candidate) => candidate.hash === hash)
  const isUnused = live !== undefined && live.firstUsedAt === null
  return ok({
    key,
    secret: isUnused ? secret : null,
    isUsed: live !== undefined && !isUnused,
    isReplay: true,
  })
}

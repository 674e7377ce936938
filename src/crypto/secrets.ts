import { drawBase62 } from '../domain/base62.ts'
import { hintOf, RANDOM_LENGTH } from '../domain/key-format.ts'
import { refreshTokenStart } from '../domain/refresh-token-format.ts'
import { sha256 } from './digest.ts'
import { makeCheck, type CheckSecrets } from './key-check.ts'
import { randomBytes } from './random.ts'

/** A secret at the only moment at which it is known, and what may be kept of it. */
export type NewSecret = {
  readonly secret: string
  readonly hash: string
  readonly hint: string
  readonly checkId: string
}

export async function makeSecret(prefix: string, checks: CheckSecrets): Promise<NewSecret> {
  const secret = await makeChecked(`${prefix}_`, checks)
  return { secret, hash: await sha256(secret), hint: hintOf(secret, prefix), checkId: checks[0].id }
}

export async function makeRefreshToken(
  sessionId: string,
  checks: CheckSecrets,
): Promise<{ readonly token: string; readonly hash: string }> {
  const token = await makeChecked(refreshTokenStart(sessionId), checks)
  return { token, hash: await sha256(token) }
}

async function makeChecked(start: string, checks: CheckSecrets): Promise<string> {
  const unchecked = start + drawBase62(RANDOM_LENGTH, randomBytes)
  return unchecked + (await makeCheck(unchecked, checks[0]))
}

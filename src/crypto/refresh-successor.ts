import { reduceToBase62 } from '../domain/base62.ts'
import { RANDOM_LENGTH } from '../domain/key-format.ts'
import { MINUTE_MS } from '../domain/time.ts'
import { sha256 } from './digest.ts'
import { type CheckSecret, type CheckSecrets, makeCheck, makeMac } from './key-check.ts'

/** Nothing else that is authenticated under the check secrets begins so. */
const LABEL = 'refresh: '

/**
 * The minutes in which a successor can have been made, counted from this one. The next: clocks
 * differ, and may step back. The one before the last: a successor that is used within 60 s is
 * asked for up to 60 s after that, and 120 s can touch three minutes.
 */
const MINUTES = [0, -1, 1, -2]

/** What may follow a refresh token. */
export type Successors = {
  /** The one that is made now, under the active secret. */
  readonly newHash: string
  /** Each that a request around now may have made, under any listed secret, by its hash. */
  readonly tokens: ReadonlyMap<string, string>
}

/**
 * The successors of a refresh token. They are derived from it, so that a lost answer can be given
 * again although the database holds only a hash: whoever lacks the check secrets cannot make them.
 * @param start the first part of every refresh token of the session
 */
export async function deriveSuccessors(
  { presented, start }: { readonly presented: string; readonly start: string },
  checks: CheckSecrets,
  now: number,
): Promise<Successors> {
  const thisMinute = Math.floor(now / MINUTE_MS)
  const derive = async (secret: CheckSecret, minute: number) => {
    const mac = await makeMac(`${LABEL}${presented} ${minute}`, secret)
    const unchecked = start + reduceToBase62(Buffer.from(mac, 'base64url'), RANDOM_LENGTH)
    const token = unchecked + (await makeCheck(unchecked, secret))
    return { token, hash: await sha256(token) }
  }
  const derived = await Promise.all(
    checks.flatMap((secret) => MINUTES.map((offset) => derive(secret, thisMinute + offset))),
  )
  return {
    newHash: (await derive(checks[0], thisMinute)).hash,
    tokens: new Map(derived.map(({ hash, token }) => [hash, token])),
  }
}

/**
 * Whose devices a verify is about: those of one user, or anybody's. It is never left out: anybody
 * may make an account and give its devices any scope, so a misspelt variable must not mean `any`.
 */
export type Owner = 'any' | `user_${string}`

export const OWNER_PATTERN = /^(?:any|user_[0-9a-z]{26})$/

/** What to write where no owner is named. In ASCII, as OAuth errors are (RFC 6749 §5.2). */
export const OWNER_WANTED =
  'owner must be the id of the user whose devices may pass (user_...), or any for those of all'

/** An owner that no device has. */
const NOBODY = 'nobody'

export function isOwner(value: unknown): value is Owner {
  return typeof value === 'string' && OWNER_PATTERN.test(value)
}

/**
 * Whose devices exist for a verifier that asks about an owner: never more than its scope reaches.
 * @param asked undefined where it named none, which only a verifier of its own owner's devices may
 * @returns undefined where it has to name one
 */
export function ownerFor(
  verifier: { readonly reach: 'own' | 'all'; readonly ownerId: string },
  asked: string | undefined,
): string | undefined {
  if (verifier.reach === 'all') return asked
  const isOwn = asked === undefined || asked === 'any' || asked === verifier.ownerId
  return isOwn ? verifier.ownerId : NOBODY
}

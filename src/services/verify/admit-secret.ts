import { isCheckGenuine } from '../../crypto/key-check.ts'
import { parsePresentedSecret } from '../../domain/key-format.ts'
import type { Settings } from '../../settings.ts'

type Admission =
  /** It carries a genuine check. */
  | 'checked'
  /** It has our shape, and checks are off. */
  | 'unchecked'
  /** Another system made it, and such secrets are accepted. */
  | 'foreign'
  | 'refused'

/**
 * Decides without I/O whether a presented string may be looked up. A string with our prefix is
 * never foreign.
 */
export async function admitSecret(
  presented: string,
  { keyPrefix, keyCheck, checkSecrets, acceptImportedKeys }: Settings,
): Promise<Admission> {
  const parsed = parsePresentedSecret(presented, keyPrefix)
  switch (parsed.kind) {
    case 'checked': {
      if (keyCheck === 'off') return 'unchecked'
      const isGenuine = await isCheckGenuine(parsed.unchecked, parsed.check, checkSecrets)
      return isGenuine ? 'checked' : 'refused'
    }
    case 'foreign':
      return acceptImportedKeys ? 'foreign' : 'refused'
    case 'malformed':
      return 'refused'
  }
}

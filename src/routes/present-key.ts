import type { Key } from '../services/keys.ts'

/** A key as the wire shows it: never its secret, only the hint. */
export function presentKey(key: Key) {
  return {
    id: key.id,
    name: key.name,
    hint: key.hint,
    created_at: new Date(key.createdAt).toISOString(),
  }
}

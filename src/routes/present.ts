import { cursorAfter } from '../schemas/common.ts'
import { type Key, statusOf } from '../services/find-keys.ts'

/** A time as the wire shows it: RFC 3339, UTC. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}

export function optionalTimestamp(milliseconds: number | null): string | null {
  return milliseconds === null ? null : timestamp(milliseconds)
}

/** Where the next page begins, from the last item of this one; null when there is no next page. */
export function nextCursor(last: { readonly at: number; readonly id: string } | undefined) {
  return last === undefined ? null : cursorAfter(last)
}

/** A key as the wire shows it: of its secrets only the hints. */
export function presentKey(key: Key, now: number) {
  return {
    id: key.id,
    device_id: key.deviceId,
    name: key.name,
    scopes: key.scopes,
    status: statusOf(key, now),
    enabled: key.disabledAt === null,
    created_at: timestamp(key.createdAt),
    updated_at: timestamp(key.updatedAt),
    expires_at: optionalTimestamp(key.expiresAt),
    revoked_at: optionalTimestamp(key.revokedAt),
    revoked_reason: key.revokedReason,
    secrets: key.secrets.map((secret) => ({
      hint: secret.hint,
      created_at: timestamp(secret.createdAt),
      expires_at: optionalTimestamp(secret.expiresAt),
    })),
  }
}

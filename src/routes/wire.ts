import type { LastUse } from '../domain/usage-count.ts'
import type { MeterPolicy } from '../domain/meter.ts'
import { cursorAfter } from '../schemas/page.ts'
import { type Key, statusOf } from '../services/keys/find-keys.ts'

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

export function presentLimits({ rateLimit, quota }: MeterPolicy) {
  return {
    rate_limit: rateLimit && { limit: rateLimit.limit, window_seconds: rateLimit.windowSeconds },
    quota,
  }
}

/**
 * A key as the wire shows it: of its secrets only the hints.
 * @param lastUses left out where the answer must not depend on the device's object
 */
export function presentKey(key: Key, now: number, lastUses?: readonly LastUse[]) {
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
    ...presentLimits(key.limits),
    revoked_at: optionalTimestamp(key.revokedAt),
    revoked_reason: key.revokedReason,
    ...(lastUses && { last_used_at: lastOf(lastUses, ({ keyId }) => keyId === key.id) }),
    secrets: key.secrets.map((secret) => ({
      hint: secret.hint,
      created_at: timestamp(secret.createdAt),
      expires_at: optionalTimestamp(secret.expiresAt),
      ...(lastUses && {
        last_used_at: lastOf(lastUses, ({ secretHash }) => secretHash === secret.hash),
      }),
    })),
  }
}

/** When the newest of some uses was; null: never. */
export function lastOf(
  uses: readonly LastUse[],
  counts: (use: LastUse) => boolean = () => true,
): string | null {
  const last = Math.max(0, ...uses.filter(counts).map(({ at }) => at))
  return last === 0 ? null : timestamp(last)
}

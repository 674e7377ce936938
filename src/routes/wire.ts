import { rfc3339 } from '../domain/time.ts'
import type { LastUse } from '../domain/usage-count.ts'
import { cursorAfter } from '../schemas/page.ts'
import { type Key, statusOf } from '../services/keys/find-keys.ts'
import type { IssuedKey } from '../services/keys/issued-key.ts'
import { limitFields } from '../services/keys/key-row.ts'

/** A time as the wire shows it; null stays null. */
export function toWireTime(milliseconds: number | null): string | null {
  return milliseconds === null ? null : rfc3339(milliseconds)
}

/** Where the next page begins, from the last item of this one; null when there is no next page. */
export function nextCursor(last: Parameters<typeof cursorAfter>[0] | undefined) {
  return last === undefined ? null : cursorAfter(last)
}

/**
 * A key as the wire shows it: of its secrets only the hints.
 * @param lastUses left out where the answer must not depend on the device's object
 */
export function toWireKey(key: Key, now: number, lastUses?: readonly LastUse[]) {
  return {
    id: key.id,
    device_id: key.deviceId,
    name: key.name,
    scopes: key.scopes,
    status: statusOf(key, now),
    enabled: key.disabledAt === null,
    created_at: rfc3339(key.createdAt),
    updated_at: rfc3339(key.updatedAt),
    expires_at: toWireTime(key.expiresAt),
    ...limitFields(key.limits),
    self_rotation: key.selfRotation,
    revoked_at: toWireTime(key.revokedAt),
    revoked_reason: key.revokedReason,
    ...(lastUses && { last_used_at: lastOf(lastUses, ({ keyId }) => keyId === key.id) }),
    secrets: key.secrets.map((secret) => ({
      hint: secret.hint,
      created_at: rfc3339(secret.createdAt),
      expires_at: toWireTime(secret.expiresAt),
      first_used_at: toWireTime(secret.firstUsedAt),
      first_used_country: secret.firstUsedCountry,
      ...(lastUses && {
        last_used_at: lastOf(lastUses, ({ secretHash }) => secretHash === secret.hash),
      }),
    })),
  }
}

/**
 * A key with the secret that was made for it. In a repeated answer the secret is null once it was
 * used, or has ended.
 */
export function toWireIssued({ key, secret, isUsed }: IssuedKey, now: number) {
  return {
    key: toWireKey(key, now),
    api_key: secret,
    ...(isUsed ? { already_used: true } : {}),
  }
}

/** Says that an answer is one that was given before. */
export function replayHeaders({ isReplay }: Pick<IssuedKey, 'isReplay'>): Record<string, string> {
  return isReplay ? { 'Idempotency-Replayed': 'true' } : {}
}

/** When the newest of some uses was; null: never. */
export function lastOf(
  uses: readonly LastUse[],
  counts: (use: LastUse) => boolean = () => true,
): string | null {
  const last = Math.max(0, ...uses.filter(counts).map(({ at }) => at))
  return last === 0 ? null : rfc3339(last)
}

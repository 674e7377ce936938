import { and, eq, gt, isNull, or, type SQL, sql } from 'drizzle-orm'
import { apiKeys } from '../../db/schema.ts'
import type { VerifyContext } from '../context.ts'

/**
 * Whether a device may have another live key: one that is neither revoked nor expired. It belongs
 * into the change's own predicate, so that however many are made at once, the cap holds.
 */
export function hasRoomForKey({ settings, now }: VerifyContext, deviceId: string): SQL {
  const live = and(eq(apiKeys.deviceId, deviceId), isNull(apiKeys.revokedAt), isUnexpired(now))
  return sql`(select count(*) from ${apiKeys} where ${live}) < ${settings.deviceMaxKeys}`
}

export function isUnexpired(now: number): SQL | undefined {
  return or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, now))
}

import { eq, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { apiKeys, devices, keySecrets, users } from '../../db/schema.ts'
import type { KeySnapshot } from '../../domain/evaluate-key.ts'
import { limitsOf, parseScopes } from '../keys/key-row.ts'

/**
 * The newest number of the revocation feed, as of this very statement: a token that is issued from
 * it is dead by every later one. Right after pruning, too, since numbers are never given twice.
 */
const FEED_POSITION = sql<number>`coalesce(
  (select seq from sqlite_sequence where name = 'revocations'), 0)`

const COLUMNS = {
  secret: {
    expiresAt: keySecrets.expiresAt,
    revokedAt: keySecrets.revokedAt,
    retiredUseAt: keySecrets.retiredUseAt,
    firstUsedAt: keySecrets.firstUsedAt,
    replaces: keySecrets.replaces,
    imported: keySecrets.imported,
    tombstoneUserId: keySecrets.tombstoneUserId,
  },
  key: {
    id: apiKeys.id,
    name: apiKeys.name,
    scopes: apiKeys.scopes,
    expiresAt: apiKeys.expiresAt,
    disabledAt: apiKeys.disabledAt,
    revokedAt: apiKeys.revokedAt,
    rateLimit: apiKeys.rateLimit,
    rateWindowSeconds: apiKeys.rateWindowSeconds,
    quotaLimit: apiKeys.quotaLimit,
    quotaPeriod: apiKeys.quotaPeriod,
  },
  device: { id: devices.id, name: devices.name, disabledAt: devices.disabledAt },
  owner: { id: users.id, role: users.role, disabledAt: users.disabledAt },
  feedPosition: FEED_POSITION,
}

/** What D1 knows of a secret by its hash, in one statement; undefined when it knows nothing. */
export async function selectSnapshot(
  database: D1Database,
  hash: string,
): Promise<KeySnapshot | undefined> {
  const [row] = await openDatabase(database)
    .select(COLUMNS)
    .from(keySecrets)
    .leftJoin(apiKeys, eq(apiKeys.id, keySecrets.keyId))
    .leftJoin(devices, eq(devices.id, apiKeys.deviceId))
    .leftJoin(users, eq(users.id, devices.userId))
    .where(eq(keySecrets.hash, hash))
  if (row === undefined) return undefined
  const { key, device, owner, feedPosition } = row
  const { tombstoneUserId } = row.secret
  const secret = {
    expiresAt: row.secret.expiresAt,
    revokedAt: row.secret.revokedAt,
    isRetiredUseNoted: row.secret.retiredUseAt !== null,
    isFirstUseNoted: row.secret.firstUsedAt !== null,
    isReplacement: row.secret.replaces !== null,
    isImported: row.secret.imported,
  }
  if (key === null || device === null || owner === null) {
    return { secret, ownerId: tombstoneUserId ?? '', policy: null, feedPosition }
  }
  const { id, name, disabledAt } = key
  const policyKey = {
    id,
    name,
    scopes: parseScopes(key.scopes),
    expiresAt: key.expiresAt,
    disabledAt,
    revokedAt: key.revokedAt,
    limits: limitsOf(key),
  }
  return { secret, ownerId: owner.id, policy: { key: policyKey, device, owner }, feedPosition }
}

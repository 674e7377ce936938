import { and, asc, eq, gt, inArray, isNotNull, isNull, lte, or, type SQL, sql } from 'drizzle-orm'
import { batch } from '../../db/batch.ts'
import { openDatabase, type Database } from '../../db/client.ts'
import { isAfter, type Position } from '../../db/keyset.ts'
import { apiKeys, devices, keySecrets } from '../../db/schema.ts'
import type { MeterPolicy } from '../../domain/meter.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { VerifyContext } from '../context.ts'
import { limitsOf, parseScopes } from './key-row.ts'

/** A key as its owner sees it. Times are milliseconds. */
export type Key = {
  readonly id: string
  readonly deviceId: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly createdAt: number
  readonly updatedAt: number
  readonly expiresAt: number | null
  readonly disabledAt: number | null
  readonly revokedAt: number | null
  readonly revokedReason: string | null
  readonly limits: MeterPolicy
  readonly selfRotation: boolean
  /** The secrets that live: one, or two while a rotation overlaps. Newest first. */
  readonly secrets: readonly LiveSecret[]
}

export type LiveSecret = {
  /** For looking up its last use; not for showing. */
  readonly hash: string
  readonly hint: string
  readonly createdAt: number
  readonly expiresAt: number | null
  /** When it was first accepted, and the country from which it came; null: not yet, unknown. */
  readonly firstUsedAt: number | null
  readonly firstUsedCountry: string | null
}

type KeyStatus = 'active' | 'disabled' | 'expired' | 'revoked'

/** One word for a key: what is final before what may pass. */
export function statusOf(key: Key, now: number): KeyStatus {
  if (key.revokedAt !== null) return 'revoked'
  if (key.expiresAt !== null && key.expiresAt <= now) return 'expired'
  return key.disabledAt === null ? 'active' : 'disabled'
}

/** Which key of which device of which user: all three must fit. */
export type KeyPath = { readonly userId: string; readonly deviceId: string; readonly keyId: string }

/** The owner is part of every predicate: another's key is one that is not there. */
export function ownKey({ userId, deviceId, keyId }: KeyPath): SQL | undefined {
  return and(eq(apiKeys.id, keyId), eq(apiKeys.deviceId, deviceId), isOwnedBy(userId))
}

function isOwnedBy(userId: string): SQL {
  return sql`exists (select 1 from ${devices}
    where ${devices.id} = ${apiKeys.deviceId} and ${devices.userId} = ${userId})`
}

/** A page of a device's keys, oldest first. */
export async function listKeys(
  { database, now }: VerifyContext,
  query: {
    readonly userId: string
    readonly deviceId: string
    readonly limit: number
    readonly after?: Position | undefined
    readonly status?: KeyStatus | undefined
  },
): Promise<Result<{ keys: Key[]; hasMore: boolean }, 'not_found'>> {
  const db = openDatabase(database)
  const { userId, deviceId, limit, after, status } = query
  const { device, rows } = await batch(db, {
    device: db
      .select({ id: devices.id })
      .from(devices)
      .where(and(eq(devices.id, deviceId), eq(devices.userId, userId))),
    rows: db
      .select()
      .from(apiKeys)
      .where(
        and(
          eq(apiKeys.deviceId, deviceId),
          isOwnedBy(userId),
          after === undefined ? undefined : isAfter(apiKeys.createdAt, apiKeys.id, after),
          status === undefined ? undefined : hasStatus(status, now),
        ),
      )
      .orderBy(asc(apiKeys.createdAt), asc(apiKeys.id))
      .limit(limit + 1),
  })
  if (device.length === 0) return err('not_found')
  const page = rows.slice(0, limit)
  return ok({ keys: await withSecrets(db, page, now), hasMore: rows.length > limit })
}

export async function findKey(
  { database, now }: VerifyContext,
  path: KeyPath,
): Promise<Result<Key, 'not_found'>> {
  const db = openDatabase(database)
  return keyOf(await batch(db, selectKey(db, path, now)))
}

/** The statements that read one key, for a batch, whose results `keyOf` takes. */
export function selectKey(db: Database, path: KeyPath, now: number) {
  return {
    keyRows: db.select().from(apiKeys).where(ownKey(path)),
    secretRows: selectSecrets(db, sql`(${path.keyId})`, now),
  }
}

export function keyOf({
  keyRows: [row],
  secretRows,
}: {
  readonly keyRows: readonly (typeof apiKeys.$inferSelect)[]
  readonly secretRows: readonly SecretRow[]
}): Result<Key, 'not_found'> {
  return row === undefined ? err('not_found') : ok(toKey(row, secretRows))
}

async function withSecrets(
  db: Database,
  rows: readonly (typeof apiKeys.$inferSelect)[],
  now: number,
): Promise<Key[]> {
  if (rows.length === 0) return []
  // json_each instead of a parameter for each: D1 takes 100.
  const ids = sql`(select value from json_each(${JSON.stringify(rows.map((row) => row.id))}))`
  const secrets = await selectSecrets(db, ids, now)
  return rows.map((row) => toKey(row, secrets))
}

type SecretRow = LiveSecret & { readonly keyId: string | null }

/** The live secrets of keys, newest first; of those made at once, the one that stays. */
function selectSecrets(db: Database, keyIds: SQL, now: number) {
  return db
    .select({
      keyId: keySecrets.keyId,
      hash: keySecrets.hash,
      hint: keySecrets.hint,
      createdAt: keySecrets.createdAt,
      expiresAt: keySecrets.expiresAt,
      firstUsedAt: keySecrets.firstUsedAt,
      firstUsedCountry: keySecrets.firstUsedCountry,
    })
    .from(keySecrets)
    .where(and(inArray(keySecrets.keyId, keyIds), isLiveSecret(now)))
    .orderBy(sql`${keySecrets.createdAt} desc`, sql`${keySecrets.expiresAt} is not null`)
}

function toKey(row: typeof apiKeys.$inferSelect, secrets: readonly SecretRow[]): Key {
  return {
    ...row,
    scopes: parseScopes(row.scopes),
    limits: limitsOf(row),
    secrets: row.revokedAt === null ? secrets.filter(({ keyId }) => keyId === row.id) : [],
  }
}

/** Neither ended by a rotation, nor at the end of its overlap. */
export function isLiveSecret(now: number): SQL | undefined {
  return and(
    isNull(keySecrets.revokedAt),
    or(isNull(keySecrets.expiresAt), gt(keySecrets.expiresAt, now)),
  )
}

function hasStatus(status: KeyStatus, now: number): SQL | undefined {
  const unrevoked = isNull(apiKeys.revokedAt)
  const unexpired = or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, now))
  switch (status) {
    case 'revoked':
      return isNotNull(apiKeys.revokedAt)
    case 'expired':
      return and(unrevoked, lte(apiKeys.expiresAt, now))
    case 'disabled':
      return and(unrevoked, unexpired, isNotNull(apiKeys.disabledAt))
    case 'active':
      return and(unrevoked, unexpired, isNull(apiKeys.disabledAt))
  }
}

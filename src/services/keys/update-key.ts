import { and, eq, isNull, not, or, type SQL, sql } from 'drizzle-orm'
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'
import { differsFrom, disabledAtFor, enabledIn, jsonBoolean } from '../../db/columns.ts'
import { apiKeys } from '../../db/schema.ts'
import { err, type Result } from '../../domain/result.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { findKey, type Key, keyOf, type KeyPath, ownKey, selectKey } from './find-keys.ts'
import { hasRoomForKey, isUnexpired } from './key-cap.ts'
import { type KeyInput, limitColumns, limitFields } from './key-row.ts'

type KeyChange = KeyInput & { readonly enabled?: boolean | undefined }

type Refusal = 'not_found' | 'key_revoked' | 'cap_reached'

/**
 * Changes what is given of a key's policy and leaves the rest; its secrets are not touched. What is
 * so already is no change, and leaves no trace.
 */
export async function updateKey(
  ctx: AuditContext,
  { path, ...input }: KeyChange & { readonly path: KeyPath },
): Promise<Result<Key, Refusal>> {
  const fields = columnsOf(input, ctx.now)
  if (Object.keys(fields).length === 0) return unlessRevoked(await findKey(ctx, path))
  const changeable = and(ownKey(path), isNull(apiKeys.revokedAt), differsFrom(apiKeys, fields))
  // A key that has expired is not counted: to bring it back takes the room of a new one.
  const bringsBack = input.expiresAt !== undefined
  const hasRoom = bringsBack
    ? sql`(${or(isUnexpired(ctx.now), hasRoomForKey(ctx, path.deviceId))})`
    : sql`true`
  const change = openChange(
    ctx,
    {
      action: 'key.updated',
      ...path,
      before: sql`(select ${stateBefore(input)} from ${apiKeys} where ${changeable})`,
      after: wireFields(input),
    },
    sql`exists (select 1 from ${apiKeys} where ${and(changeable, hasRoom)})`,
  )
  const committed = await commitThenEvict(change, path.keyId, {
    ended: change.endTokens(path.keyId, { if: changesTokens(path.keyId, input) }),
    updated: change.update(apiKeys, { ...fields, updatedAt: ctx.now }, eq(apiKeys.id, path.keyId)),
    // Why it did not happen: for the answer only.
    lacksRoom: change.db
      .select({ id: apiKeys.id })
      .from(apiKeys)
      .where(and(changeable, not(change.happened), not(hasRoom))),
    // The key is read in the same batch: what comes after it must not change the answer.
    ...selectKey(change.db, path, ctx.now),
  })
  const key = keyOf(committed)
  if (committed.happened) return key
  return committed.lacksRoom.length > 0 ? err('cap_reached') : unlessRevoked(key)
}

function unlessRevoked(key: Result<Key, 'not_found'>): Result<Key, Refusal> {
  return key.ok && key.value.revokedAt !== null ? err('key_revoked') : key
}

function columnsOf(input: KeyChange, now: number) {
  const { name, scopes, expiresAt, selfRotation, enabled } = input
  return {
    ...(name === undefined ? {} : { name }),
    ...(scopes === undefined ? {} : { scopes: JSON.stringify(scopes) }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...limitColumns(input),
    ...(selfRotation === undefined ? {} : { selfRotation }),
    ...(enabled === undefined
      ? {}
      : { disabledAt: disabledAtFor(enabled, apiKeys.disabledAt, now) }),
  }
}

/**
 * Whether the change makes earlier tokens untrue. A token says the key's name, its scopes and
 * whether it is limited, and it may not outlive the key. The predicate stands before the update, so
 * that it compares with the row as it was.
 */
function changesTokens(keyId: string, input: KeyChange): SQL {
  const { name, scopes, expiresAt, rateLimit, quota, enabled } = input
  const said = {
    ...(name === undefined ? {} : { name }),
    ...(scopes === undefined ? {} : { scopes: JSON.stringify(scopes) }),
  }
  const isLimited = sql`(${isGiven(rateLimit, apiKeys.rateLimit)}
    or ${isGiven(quota, apiKeys.quotaLimit)})`
  const wasLimited = sql`(${apiKeys.rateLimit} is not null or ${apiKeys.quotaLimit} is not null)`
  const differs = or(
    differsFrom(apiKeys, said),
    sql`${isLimited} <> ${wasLimited}`,
    typeof expiresAt === 'number'
      ? sql`coalesce(${apiKeys.expiresAt} > ${expiresAt}, true)`
      : undefined,
    enabled === false ? isNull(apiKeys.disabledAt) : undefined,
  )
  return sql`exists (select 1 from ${apiKeys} where ${and(eq(apiKeys.id, keyId), differs)})`
}

/** Whether a limit stands after the change. */
function isGiven(limit: object | null | undefined, column: AnySQLiteColumn): SQL {
  if (limit === undefined) return sql`${column} is not null`
  return limit === null ? sql`false` : sql`true`
}

function wireFields(input: KeyChange): Record<string, unknown> {
  const { name, scopes, expiresAt, selfRotation, enabled } = input
  const policy = { name, scopes, expires_at: expiresAt, ...limitFields(input) }
  return { ...policy, self_rotation: selfRotation, enabled }
}

/** The changed fields as they are in the row, in the words of the wire. */
function stateBefore(input: KeyChange): SQL {
  const fields = [
    ...(input.name === undefined ? [] : [sql`'name', ${apiKeys.name}`]),
    ...(input.scopes === undefined ? [] : [sql`'scopes', json(${apiKeys.scopes})`]),
    ...(input.expiresAt === undefined ? [] : [sql`'expires_at', ${apiKeys.expiresAt}`]),
    ...(input.rateLimit === undefined
      ? []
      : [
          sql`'rate_limit', json(iif(${apiKeys.rateLimit} is null, 'null', json_object(
            'limit', ${apiKeys.rateLimit}, 'window_seconds', ${apiKeys.rateWindowSeconds})))`,
        ]),
    ...(input.quota === undefined
      ? []
      : [
          sql`'quota', json(iif(${apiKeys.quotaLimit} is null, 'null', json_object(
            'limit', ${apiKeys.quotaLimit}, 'period', ${apiKeys.quotaPeriod})))`,
        ]),
    ...(input.selfRotation === undefined
      ? []
      : [sql`'self_rotation', ${jsonBoolean(apiKeys.selfRotation)}`]),
    ...(input.enabled === undefined ? [] : [sql`'enabled', ${enabledIn(apiKeys.disabledAt)}`]),
  ]
  return sql`json_object(${sql.join(fields, sql`, `)})`
}

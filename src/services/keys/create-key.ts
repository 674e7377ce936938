import { and, eq, isNull, type SQL, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { makeSecret } from '../../crypto/secrets.ts'
import { openDatabase, type Database } from '../../db/client.ts'
import { apiKeys, devices, keySecrets } from '../../db/schema.ts'
import type { Quota } from '../../domain/quota.ts'
import type { RateLimit } from '../../domain/rate-limit.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { Settings } from '../../settings.ts'
import { recordAudit, type Change } from '../changes/record-audit.ts'
import { disabledAtFor, enabledIn } from '../../db/columns.ts'
import { limitColumns } from './key-row.ts'
import { evictingAfter } from '../changes/evict-after.ts'
import { recordRevocation } from '../verify/read-feed.ts'
import { findKey, type Key, keyOf, type KeyPath, ownKey, selectKey } from './find-keys.ts'

/** What a caller may set of a key. An absent field is left as it is, or gets its default. */
export type KeyInput = {
  readonly name?: string | undefined
  readonly scopes?: readonly string[] | undefined
  /** Milliseconds; null: none. */
  readonly expiresAt?: number | null | undefined
  /** Null: none. */
  readonly rateLimit?: RateLimit | null | undefined
  readonly quota?: Quota | null | undefined
}

export type KeyChange = KeyInput & { readonly enabled?: boolean | undefined }

/**
 * A new key with its first secret, and the statements that keep both, for a batch. They do nothing
 * unless the device is there and the user's, so they may follow its making in the same batch.
 * @param given what else must hold in the database; it is told the new key's id
 */
export async function prepareKey(
  db: Database,
  now: number,
  owner: { readonly userId: string; readonly deviceId: string },
  input: KeyInput,
  settings: Settings,
  given: (keyId: string) => SQL = () => sql`true`,
) {
  const { secret, hash, hint, checkId } = await makeSecret(
    settings.keyPrefix,
    settings.checkSecrets,
  )
  const { userId, deviceId } = owner
  const key: Key = {
    id: newId('key'),
    deviceId,
    name: input.name ?? 'default',
    scopes: input.scopes ?? [],
    createdAt: now,
    updatedAt: now,
    expiresAt: input.expiresAt ?? null,
    disabledAt: null,
    revokedAt: null,
    revokedReason: null,
    limits: { rateLimit: input.rateLimit ?? null, quota: input.quota ?? null },
    secrets: [{ hash, hint, createdAt: now, expiresAt: null }],
  }
  const { rateLimit, quota } = key.limits
  const statements = [
    db
      .insert(apiKeys)
      .select(
        sql`select ${key.id}, ${devices.id}, ${key.name}, ${JSON.stringify(key.scopes)}, ${now},
          ${now}, ${key.expiresAt}, null, null, null, ${rateLimit?.limit ?? null},
          ${rateLimit?.windowSeconds ?? null}, ${quota?.limit ?? null}, ${quota?.period ?? null}
          from ${devices}
          where ${and(eq(devices.id, deviceId), eq(devices.userId, userId), given(key.id))}`,
      )
      .returning({ id: apiKeys.id }),
    db.insert(keySecrets).select(
      sql`select ${hash}, ${apiKeys.id}, null, ${hint}, ${checkId}, 0, ${now}, null, null, null
          from ${apiKeys} where ${eq(apiKeys.id, key.id)}`,
    ),
  ] as const
  return { key, secret, statements }
}

/** Gives a device another key. The secret is in the result and nowhere else. */
export async function createKey(
  change: Change,
  owner: { readonly userId: string; readonly deviceId: string },
  input: KeyInput,
  settings: Settings,
): Promise<Result<{ key: Key; secret: string }, 'not_found'>> {
  const db = openDatabase(change.database)
  const { key, secret, statements } = await prepareKey(db, change.now, owner, input, settings)
  const [inserted] = await db.batch([
    ...statements,
    recordAudit(
      db,
      change,
      {
        action: 'key.created',
        userId: owner.userId,
        deviceId: owner.deviceId,
        keyId: key.id,
        after: policyOf(key),
      },
      sql`exists (select 1 from ${apiKeys} where ${apiKeys.id} = ${key.id})`,
    ),
  ])
  return inserted.length > 0 ? ok({ key, secret }) : err('not_found')
}

/** Changes what is given of a key's policy and leaves the rest; its secrets are not touched. */
export async function updateKey(
  change: Change,
  path: KeyPath,
  input: KeyChange,
): Promise<Result<Key, 'not_found' | 'key_revoked'>> {
  const db = openDatabase(change.database)
  const { name, scopes, expiresAt, enabled } = input
  const fields = {
    ...(name === undefined ? {} : { name }),
    ...(scopes === undefined ? {} : { scopes: JSON.stringify(scopes) }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...limitColumns(input),
    ...(enabled === undefined
      ? {}
      : { disabledAt: disabledAtFor(enabled, apiKeys.disabledAt, change.now) }),
  }
  const changeable = and(ownKey(path), isNull(apiKeys.revokedAt))
  if (Object.keys(fields).length === 0) {
    return changed(await findKey(change.database, path, change.now))
  }
  const audit = {
    action: 'key.updated',
    ...path,
    before: sql`(select ${stateBefore(input)} from ${apiKeys} where ${changeable})`,
    after: wireFields(input),
  } as const
  const happens = sql`exists (select 1 from ${apiKeys} where ${changeable})`
  // The key is read in the same batch: what comes after it must not change the answer.
  const [, , updated, rows, secrets] = await evictingAfter(
    path.keyId,
    async () =>
      await db.batch([
        recordAudit(db, change, audit, happens),
        recordRevocation(db, path.keyId, change.now, changesTokens(input) ? happens : sql`false`),
        db
          .update(apiKeys)
          .set({ ...fields, updatedAt: change.now })
          .where(changeable)
          .returning({ id: apiKeys.id }),
        ...selectKey(db, path, change.now),
      ]),
    ([, , hit]) => hit.length > 0,
  )
  const key = keyOf(rows, secrets)
  return updated.length > 0 && key !== undefined ? ok(key) : changed(key)
}

/** Whether tokens that were issued before the change say what is no longer so. */
function changesTokens({ scopes, expiresAt, rateLimit, quota, enabled }: KeyChange): boolean {
  return (
    enabled === false || [scopes, expiresAt, rateLimit, quota].some((field) => field !== undefined)
  )
}

function changed(key: Key | undefined): Result<Key, 'not_found' | 'key_revoked'> {
  if (key === undefined) return err('not_found')
  return key.revokedAt === null ? ok(key) : err('key_revoked')
}

/**
 * Ends a key for good. Ending it again is no error and changes nothing.
 * @returns whether it was this call that ended it
 */
export async function revokeKey(
  change: Change,
  path: KeyPath,
): Promise<Result<{ readonly isNew: boolean }, 'not_found'>> {
  const db = openDatabase(change.database)
  const own = ownKey(path)
  const live = and(own, isNull(apiKeys.revokedAt))
  const happens = sql`exists (select 1 from ${apiKeys} where ${live})`
  const [, , revoked, found] = await evictingAfter(
    path.keyId,
    async () =>
      await db.batch([
        recordAudit(db, change, { action: 'key.revoked', ...path }, happens),
        recordRevocation(db, path.keyId, change.now, happens),
        db
          .update(apiKeys)
          .set({ revokedAt: change.now, revokedReason: 'owner', updatedAt: change.now })
          .where(live)
          .returning({ id: apiKeys.id }),
        db.select({ id: apiKeys.id }).from(apiKeys).where(own),
      ]),
    ([, , hit]) => hit.length > 0,
  )
  return found.length > 0 ? ok({ isNew: revoked.length > 0 }) : err('not_found')
}

/** A key's policy in the words of the audit; times stay numbers there. */
export function policyOf(key: Key): Record<string, unknown> {
  const [secret] = key.secrets
  return {
    name: key.name,
    scopes: key.scopes,
    expires_at: key.expiresAt,
    ...limitFields(key.limits),
    hint: secret?.hint,
  }
}

function wireFields(input: KeyChange): Record<string, unknown> {
  const { name, scopes, expiresAt, enabled } = input
  return { name, scopes, expires_at: expiresAt, ...limitFields(input), enabled }
}

export function limitFields({ rateLimit, quota }: Pick<KeyInput, 'rateLimit' | 'quota'>) {
  return {
    rate_limit: rateLimit && { limit: rateLimit.limit, window_seconds: rateLimit.windowSeconds },
    quota,
  }
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
    ...(input.enabled === undefined ? [] : [sql`'enabled', ${enabledIn(apiKeys.disabledAt)}`]),
  ]
  return sql`json_object(${sql.join(fields, sql`, `)})`
}

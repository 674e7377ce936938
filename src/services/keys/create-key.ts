import { and, eq, type SQL, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { makeSecret, type NewSecret } from '../../crypto/secrets.ts'
import { apiKeys, devices, keySecrets } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { type Change, openChange } from '../changes/open-change.ts'
import type { AuditContext, VerifyContext } from '../context.ts'
import type { Key } from './find-keys.ts'
import { type KeyInput, limitColumns, limitFields } from './key-row.ts'

/** A key that is about to be made, with its first secret. */
export type NewKey = { readonly key: Key; readonly secret: NewSecret }

/** Draws a key's id and its first secret, which is known here and in the answer, nowhere else. */
export async function prepareKey(
  { settings, now }: Pick<VerifyContext, 'settings' | 'now'>,
  deviceId: string,
  input: KeyInput,
): Promise<NewKey> {
  const secret = await makeSecret(settings.keyPrefix, settings.checkSecrets)
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
    secrets: [{ hash: secret.hash, hint: secret.hint, createdAt: now, expiresAt: null }],
  }
  return { key, secret }
}

/** The statements of a change that keep a key with its first secret. Its device must be there. */
export function insertKey(change: Change, { key, secret }: NewKey) {
  const { secrets: _, limits, scopes, ...columns } = key
  return {
    key: change.insert(apiKeys, {
      ...columns,
      scopes: JSON.stringify(scopes),
      ...limitColumns(limits),
    }),
    secret: change.insert(keySecrets, secretRow(key.id, secret, change.ctx.now)),
  }
}

/** The row of a secret that was made just now. */
export function secretRow(keyId: string, { hash, hint, checkId }: NewSecret, now: number) {
  return { hash, keyId, hint, checkId, createdAt: now }
}

/** Gives a device another key. The secret is in the result and nowhere else. */
export async function createKey(
  ctx: AuditContext,
  { userId, deviceId, ...input }: KeyInput & { readonly userId: string; readonly deviceId: string },
): Promise<Result<{ key: Key; secret: string }, 'not_found'>> {
  const made = await prepareKey(ctx, deviceId, input)
  const { key, secret } = made
  const entry = { action: 'key.created', userId, deviceId, keyId: key.id } as const
  const change = openChange(ctx, { ...entry, after: auditFieldsOf(key) }, isThere(userId, deviceId))
  const { happened } = await commit(change, insertKey(change, made))
  return happened ? ok({ key, secret: secret.secret }) : err('not_found')
}

function isThere(userId: string, deviceId: string): SQL {
  return sql`exists (select 1 from ${devices}
    where ${and(eq(devices.id, deviceId), eq(devices.userId, userId))})`
}

/** A key's policy in the words of the audit; times stay numbers there. */
export function auditFieldsOf(key: Key): Record<string, unknown> {
  const [secret] = key.secrets
  return {
    name: key.name,
    scopes: key.scopes,
    expires_at: key.expiresAt,
    ...limitFields(key.limits),
    hint: secret?.hint,
  }
}

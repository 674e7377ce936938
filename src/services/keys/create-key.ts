import { and, eq, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { makeSecret, type NewSecret } from '../../crypto/secrets.ts'
import { apiKeys, devices, keySecrets } from '../../db/schema.ts'
import { err, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { rememberOnce, type Reused, unlessDone } from '../changes/idempotency.ts'
import { type Change, openChange } from '../changes/open-change.ts'
import type { AuditContext, VerifyContext } from '../context.ts'
import type { Key, LiveSecret } from './find-keys.ts'
import { type IssuedKey, issuedAgain, issuedNow } from './issued-key.ts'
import { hasRoomForKey } from './key-cap.ts'
import { type KeyInput, limitColumns, limitFields } from './key-row.ts'

/** A key that is about to be made, with its first secret. */
type NewKey = { readonly key: Key; readonly secret: NewSecret }

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
    selfRotation: input.selfRotation ?? false,
    secrets: [unusedSecret(secret, now)],
  }
  return { key, secret }
}

/**
 * The statements of a change that keep a key with its first secret. Its device must be there.
 * @param mintedWith the claim for which it is made
 */
export function insertKey(change: Change, { key, secret }: NewKey, mintedWith?: string) {
  const { secrets: _, limits, scopes, ...columns } = key
  return {
    key: change.insert(apiKeys, {
      ...columns,
      scopes: JSON.stringify(scopes),
      ...limitColumns(limits),
    }),
    secret: change.insert(keySecrets, {
      ...secretRow(key.id, secret, change.ctx.now),
      mintedWith: mintedWith ?? null,
    }),
  }
}

function unusedSecret({ hash, hint }: NewSecret, createdAt: number): LiveSecret {
  return { hash, hint, createdAt, expiresAt: null, firstUsedAt: null, firstUsedCountry: null }
}

/** The row of a secret that was made just now. */
export function secretRow(keyId: string, { hash, hint, checkId }: NewSecret, now: number) {
  return { hash, keyId, hint, checkId, createdAt: now }
}

/** Gives a device another key. */
export async function createKey(
  ctx: AuditContext,
  { userId, deviceId, ...input }: KeyInput & { readonly userId: string; readonly deviceId: string },
): Promise<Result<IssuedKey, 'not_found' | 'cap_reached' | Reused>> {
  const made = await prepareKey(ctx, deviceId, input)
  const { key, secret } = made
  const own = and(eq(devices.id, deviceId), eq(devices.userId, userId))
  const entry = { action: 'key.created', userId, deviceId, keyId: key.id } as const
  const change = openChange(
    ctx,
    { ...entry, after: auditFieldsOf(key) },
    and(sql`exists (select 1 from ${devices} where ${own})`, hasRoomForKey(ctx, deviceId)),
    await rememberOnce(ctx, { deviceId, keyId: key.id, secret: secret.secret }),
  )
  const statements = {
    ...insertKey(change, made),
    // Which of the two is missing if it does not happen: for the answer only.
    found: change.db.select({ id: devices.id }).from(devices).where(own),
  }
  const outcome = await unlessDone(ctx, async () => await commit(change, statements))
  if ('repeated' in outcome) return await issuedAgain(ctx, userId, outcome.repeated)
  if (outcome.made.happened) return issuedNow(key, secret)
  return err(outcome.made.found.length === 0 ? 'not_found' : 'cap_reached')
}

/** A key's policy in the words of the audit; times stay numbers there. */
export function auditFieldsOf(key: Key): Record<string, unknown> {
  const [secret] = key.secrets
  return {
    name: key.name,
    scopes: key.scopes,
    expires_at: key.expiresAt,
    ...limitFields(key.limits),
    self_rotation: key.selfRotation,
    hint: secret?.hint,
  }
}

import { and, eq, gt, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import { makeSecret, type NewSecret } from '../../crypto/secrets.ts'
import { apiKeys, devices, keySecrets, users } from '../../db/schema.ts'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import { err, type Result } from '../../domain/result.ts'
import { HOUR_MS } from '../../domain/time.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { rememberOnce, type Reused, unlessDone } from '../changes/idempotency.ts'
import { type Change, openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { isLiveSecret, type Key, keyOf, type KeyPath, ownKey, selectKey } from './find-keys.ts'
import { insertSuccessor } from './insert-successor.ts'
import { type IssuedKey, issuedAgain, issuedNow } from './issued-key.ts'
import { auditFieldsOf, mayRotate, refusalOf, type RotationRefusal } from './rotate-key.ts'

/** How many secrets of a key a device may have minted in an hour. */
export const MINTED_MAX_PER_HOUR = 10

type Refusal = RotationRefusal | 'self_rotation_not_allowed' | 'rate_limited' | Reused

/**
 * Gives a key a new secret because its own device asks for one, with the secret that it holds. That
 * one lives until the new one is first used: a device that loses power in between is not locked
 * out. Only a key whose policy allows it.
 */
export async function rotateOwnKey(
  ctx: AuditContext,
  input: OwnRotation,
): Promise<Result<IssuedKey, Refusal>> {
  const { key, device, owner } = input.policy
  const { settings, now } = ctx
  const path = { userId: owner.id, deviceId: device.id, keyId: key.id }
  const made = await makeSecret(settings.keyPrefix, settings.checkSecrets)
  const change = await openRotation(ctx, path, input, made)
  const rotation = { ...rotationOf(input), mintedWith: input.secretHash }
  const outcome = await unlessDone(
    ctx,
    async () =>
      await commitThenEvict(change, key.id, {
        ...insertSuccessor(change, key.id, made, rotation),
        ...selectKey(change.db, path, now),
        counted: change.db
          .select({ recent: sql<number>`${mintedSince(key.id, now - HOUR_MS)}` })
          .from(apiKeys)
          .where(eq(apiKeys.id, key.id)),
      }),
  )
  if ('repeated' in outcome) return await issuedAgain(ctx, owner.id, outcome.repeated)
  const found = keyOf(outcome.made)
  if (!found.ok) return found
  if (outcome.made.happened) return issuedNow(found.value, made)
  const [counted] = outcome.made.counted
  return err(ownRefusalOf(found.value, counted?.recent ?? 0, now))
}

type OwnRotation = {
  readonly policy: KeyPolicySnapshot
  /** Of the secret that the device presents. */
  readonly secretHash: string
  readonly overlapSeconds: number
}

function rotationOf({ overlapSeconds }: OwnRotation) {
  return { overlapSeconds, untilUsed: true }
}

async function openRotation(
  ctx: AuditContext,
  path: KeyPath,
  input: OwnRotation,
  made: NewSecret,
): Promise<Change> {
  const { now } = ctx
  const rotation = rotationOf(input)
  const presented = and(eq(keySecrets.hash, input.secretHash), isLiveSecret(now))
  const rotatable = and(
    ownKey(path),
    eq(apiKeys.selfRotation, true),
    isEnabled(path),
    mayRotate({ ...rotation, path }, now),
  )
  // What the owner made and nobody has used yet: whoever holds the old secret must not end it.
  const ownersPending = and(
    eq(keySecrets.keyId, path.keyId),
    isLiveSecret(now),
    isNull(keySecrets.firstUsedAt),
    isNotNull(keySecrets.replaces),
    isNull(keySecrets.mintedWith),
  )
  const after = JSON.stringify(auditFieldsOf(rotation, made))
  return openChange(
    ctx,
    {
      action: 'key.rotated',
      ...path,
      after: sql`(select json_set(${after}, '$.minted_with', ${keySecrets.hint})
        from ${keySecrets} where ${presented})`,
    },
    and(
      sql`exists (select 1 from ${apiKeys} where ${rotatable})`,
      sql`exists (select 1 from ${keySecrets} where ${presented})`,
      sql`${mintedSince(path.keyId, now - HOUR_MS)} < ${MINTED_MAX_PER_HOUR}`,
      sql`not exists (select 1 from ${keySecrets} where ${ownersPending})`,
    ),
    await rememberOnce(ctx, { ...path, secret: made.secret }),
  )
}

/** An isolate may not know yet that the key, its device or its owner was disabled. */
function isEnabled({ deviceId, userId }: KeyPath): SQL | undefined {
  return and(
    isNull(apiKeys.disabledAt),
    sql`exists (select 1 from ${devices} join ${users} on ${users.id} = ${devices.userId}
      where ${devices.id} = ${deviceId} and ${users.id} = ${userId}
        and ${devices.disabledAt} is null and ${users.disabledAt} is null)`,
  )
}

/** How many secrets of a key a device has minted since a time, as SQL. */
export function mintedSince(keyId: string, since: number) {
  const minted = and(
    eq(keySecrets.keyId, keyId),
    isNotNull(keySecrets.mintedWith),
    gt(keySecrets.createdAt, since),
  )
  return sql`(select count(*) from ${keySecrets} where ${minted})`
}

/** Why a key was not rotated by its device: for the answer only, nothing is decided here. */
function ownRefusalOf(key: Key, recent: number, now: number): Exclude<Refusal, Reused> {
  if (!key.selfRotation) return 'self_rotation_not_allowed'
  return recent >= MINTED_MAX_PER_HOUR ? 'rate_limited' : refusalOf(key, now)
}

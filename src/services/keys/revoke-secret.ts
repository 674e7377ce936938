import { and, eq, isNull, sql } from 'drizzle-orm'
import { apiKeys, keySecrets } from '../../db/schema.ts'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { isLiveSecret } from './find-keys.ts'

/**
 * Revokes one secret at its own client's word, and its key if no other secret of it lives
 * (RFC 7009). Revoking it again changes nothing.
 */
export async function revokeSecret(
  ctx: AuditContext,
  input: { readonly policy: KeyPolicySnapshot; readonly secretHash: string },
): Promise<void> {
  const { now } = ctx
  const { policy, secretHash } = input
  const { key, device, owner } = policy
  const of = { userId: owner.id, deviceId: device.id, keyId: key.id }
  const live = and(eq(keySecrets.hash, secretHash), isLiveSecret(now))
  const hint = sql`(select json_object('hint', ${keySecrets.hint}) from ${keySecrets}
    where ${live})`
  const secretChange = openChange(
    ctx,
    { action: 'key.secret_ended', ...of, before: hint },
    sql`exists (select 1 from ${keySecrets} where ${live})`,
  )
  const wasLast = sql`exists (select 1 from ${apiKeys}
    where ${and(eq(apiKeys.id, key.id), isNull(apiKeys.revokedAt))})
    and not exists (select 1 from ${keySecrets}
      where ${and(eq(keySecrets.keyId, key.id), isLiveSecret(now))})`
  const keyChange = openChange(ctx, { action: 'key.revoked', ...of }, wasLast)
  await commitThenEvict(secretChange, key.id, {
    secretTokens: secretChange.endTokens(secretHash),
    secret: secretChange.update(keySecrets, { revokedAt: now }, eq(keySecrets.hash, secretHash)),
    keyAudit: keyChange.audit,
    keyTokens: keyChange.endTokens(key.id),
    key: keyChange.update(
      apiKeys,
      { revokedAt: now, revokedReason: 'client', updatedAt: now },
      eq(apiKeys.id, key.id),
    ),
  })
}

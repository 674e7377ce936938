import { and, eq, type SQL, sql } from 'drizzle-orm'
import { keySecrets } from '../../db/schema.ts'
import type { DeviceTokenClaims } from '../../domain/device-token.ts'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import { commit, commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { isLiveSecret } from './find-keys.ts'

/** What is revoked: a secret, or a token that was issued for one. */
type Presented =
  | { readonly kind: 'secret'; readonly hash: string }
  | { readonly kind: 'token'; readonly claims: DeviceTokenClaims }

type Revocation<Credential> = {
  readonly policy: KeyPolicySnapshot
  readonly credential: Credential
}

/**
 * Revokes a secret with its tokens, or one token, at its own client's word (RFC 7009), and nothing
 * else: client libraries revoke their tokens when they shut down, and the key must outlive that.
 * Its owner can give a key without a secret a new one.
 */
export async function revokeCredential(
  ctx: AuditContext,
  { policy, credential }: Revocation<Presented>,
): Promise<void> {
  if (credential.kind === 'secret') await revokeSecret(ctx, { policy, credential })
  else await revokeToken(ctx, { policy, credential })
}

/** Revoking a secret again changes nothing. */
async function revokeSecret(
  ctx: AuditContext,
  { policy, credential: { hash } }: Revocation<{ readonly hash: string }>,
): Promise<void> {
  const live = and(eq(keySecrets.hash, hash), isLiveSecret(ctx.now))
  const change = openChange(
    ctx,
    { action: 'key.secret_ended', ...pathOf(policy), before: hintOf(live) },
    sql`exists (select 1 from ${keySecrets} where ${live})`,
  )
  await commitThenEvict(change, policy.key.id, {
    tokens: change.endTokens(hash),
    secret: change.update(keySecrets, { revokedAt: ctx.now }, eq(keySecrets.hash, hash)),
  })
}

async function revokeToken(
  ctx: AuditContext,
  { policy, credential }: Revocation<{ readonly claims: DeviceTokenClaims }>,
): Promise<void> {
  const { tokenId, secretHash } = credential.claims
  const before = hintOf(eq(keySecrets.hash, secretHash))
  const change = openChange(ctx, { action: 'key.token_ended', ...pathOf(policy), before })
  try {
    await commit(change, { ended: change.endTokens(tokenId) })
  } finally {
    // Only tokens go by a token's id: no cached key does.
    ctx.isolate.feed.noteChange(tokenId)
  }
}

function pathOf({ key, device, owner }: KeyPolicySnapshot) {
  return { userId: owner.id, deviceId: device.id, keyId: key.id }
}

/** Which secret it was, in the audit's words. */
function hintOf(which: SQL | undefined): SQL {
  return sql`(select json_object('hint', ${keySecrets.hint}) from ${keySecrets} where ${which})`
}

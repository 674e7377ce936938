import { waitUntil } from 'cloudflare:workers'
import { and, eq, isNull, sql } from 'drizzle-orm'
import { keySecrets } from '../../db/schema.ts'
import {
  isRetiredSecret,
  type KeyPolicySnapshot,
  type KeySnapshot,
} from '../../domain/evaluate-key.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { VerifyContext } from '../context.ts'
import type { Caller } from './throttle-unknown.ts'

type RetiredUse = {
  readonly hash: string
  readonly snapshot: KeySnapshot
  readonly policy: KeyPolicySnapshot
  readonly caller: Caller | undefined
}

/**
 * Puts on record, once a secret, that somebody used it after a rotation ended it, so that the owner
 * sees which device still holds the old one. The write comes after the response, and is guarded by
 * the flag that it sets.
 */
export function noteRetiredUse(ctx: VerifyContext, use: RetiredUse): void {
  if (use.snapshot.secret.isRetiredUseNoted || !isRetiredSecret(use.snapshot, ctx.now)) return
  ctx.isolate.keys.noteUse(use.hash, 'isRetiredUseNoted')
  // If it fails, the flag is still unset in D1, and the next use after a refresh tries again.
  waitUntil(recordRetiredUse(ctx, use).catch(leaveToNextUse))
}

function leaveToNextUse(): void {}

async function recordRetiredUse(
  ctx: VerifyContext,
  { hash, policy, caller }: RetiredUse,
): Promise<void> {
  const { device, key, owner } = policy
  const unnoted = and(eq(keySecrets.hash, hash), isNull(keySecrets.retiredUseAt))
  const change = openChange(
    {
      ...ctx,
      actor: { type: 'device', deviceId: device.id },
      ip: caller?.ip ?? null,
      requestId: caller?.requestId ?? null,
    },
    {
      action: 'key.retired_secret_used',
      userId: owner.id,
      deviceId: device.id,
      keyId: key.id,
      after: sql`(select json_object('hint', ${keySecrets.hint}) from ${keySecrets}
        where ${unnoted})`,
    },
    sql`exists (select 1 from ${keySecrets} where ${unnoted})`,
  )
  await commit(change, {
    noted: change.update(keySecrets, { retiredUseAt: ctx.now }, eq(keySecrets.hash, hash)),
  })
}

import { and, eq, isNull, sql } from 'drizzle-orm'
import { apiKeys } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { type KeyPath, ownKey } from './find-keys.ts'

/**
 * Ends a key for good. Ending it again is no error and changes nothing.
 * @returns whether it was this call that ended it
 */
export async function revokeKey(
  ctx: AuditContext,
  path: KeyPath,
): Promise<Result<{ readonly isNew: boolean }, 'not_found'>> {
  const own = ownKey(path)
  const live = and(own, isNull(apiKeys.revokedAt))
  const change = openChange(
    ctx,
    { action: 'key.revoked', ...path },
    sql`exists (select 1 from ${apiKeys} where ${live})`,
  )
  const { happened, found } = await commitThenEvict(change, path.keyId, {
    ended: change.endTokens(path.keyId),
    revoked: change.update(
      apiKeys,
      { revokedAt: ctx.now, revokedReason: 'owner', updatedAt: ctx.now },
      eq(apiKeys.id, path.keyId),
    ),
    found: change.db.select({ id: apiKeys.id }).from(apiKeys).where(own),
  })
  return found.length > 0 ? ok({ isNew: happened }) : err('not_found')
}

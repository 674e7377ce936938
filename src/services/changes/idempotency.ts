import { and, eq, lt, or, type SQL, sql } from 'drizzle-orm'
import { sha256 } from '../../crypto/digest.ts'
import { seal, unseal } from '../../crypto/seals.ts'
import { type Database, openDatabase } from '../../db/client.ts'
import { deleteSlice, type SliceDone } from '../../db/delete-slice.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { insertWhere } from '../../db/insert-where.ts'
import { idempotency } from '../../db/schema.ts'
import type { Once } from '../../domain/once.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { DAY_MS } from '../../domain/time.ts'
import type { AuditContext, VerifyContext } from '../context.ts'

/** How long a success is answered again. */
const REMEMBERED_MS = DAY_MS

/** What a change handed out that cannot be read again: ids, and a secret. */
export type HandedOut = Readonly<Record<string, string>>

/** A success as it is kept. */
export type Remembered = {
  readonly id: string
  readonly bodyHash: string
  readonly sealed: string
}

/** Another request came under the same Idempotency-Key, or the answer cannot be opened any more. */
export type Reused = 'idempotency_key_reused' | 'answer_not_kept'

/**
 * Seals what a change is about to hand out, for `openChange`: nothing, if the client sent no
 * Idempotency-Key. The database keeps a hash of that key and a seal that only it opens.
 */
export async function rememberOnce(
  { once, settings }: AuditContext,
  handedOut: HandedOut,
): Promise<Remembered | undefined> {
  if (!once) return undefined
  const id = await idOf(once)
  const binding = { clientKey: once.key, rowId: id }
  const sealed = await seal(JSON.stringify(handedOut), binding, settings.checkSecrets)
  return { id, bodyHash: await sha256(once.request), sealed }
}

/**
 * The statement that keeps a success, the first of its change's batch. It happens if the change
 * does, or if the row is there already: then it violates the primary key and takes the whole batch
 * back. Last, it would come too late: most of many requests at once would be told why their change
 * may not happen any more.
 */
export function insertRemembered(
  db: Database,
  remembered: Remembered,
  createdAt: number,
  mayHappen: SQL | undefined,
  mayAct: SQL | undefined,
) {
  const isThere = sql`exists (select 1 from ${idempotency}
    where ${eq(idempotency.id, remembered.id)})`
  const happens = mayHappen === undefined ? undefined : or(mayHappen, and(isThere, mayAct))
  return insertWhere(db, idempotency, { ...remembered, createdAt }, happens)
}

/**
 * Makes a change, or finds what the same request was handed out before.
 * @returns undefined where it was made now
 */
export async function unlessDone<Made>(
  ctx: AuditContext,
  make: () => Promise<Made>,
): Promise<{ made: Made } | { repeated: Result<HandedOut, Reused> }> {
  try {
    return { made: await make() }
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) !== 'idempotency.id') throw thrown
    const repeated = await findHandedOut(ctx)
    if (repeated === undefined) throw thrown
    return { repeated }
  }
}

/** What the same request was handed out before; undefined: nothing, or it said no key. */
export async function findHandedOut({
  database,
  settings,
  once,
}: AuditContext): Promise<Result<HandedOut, Reused> | undefined> {
  if (!once) return undefined
  const id = await idOf(once)
  const [row] = await openDatabase(database)
    .select()
    .from(idempotency)
    .where(eq(idempotency.id, id))
  if (row === undefined) return undefined
  if (row.bodyHash !== (await sha256(once.request))) return err('idempotency_key_reused')
  const binding = { clientKey: once.key, rowId: id }
  const text = await unseal(row.sealed, binding, settings.checkSecrets)
  if (text === undefined) return err('answer_not_kept')
  const handedOut: HandedOut = JSON.parse(text)
  return ok(handedOut)
}

/** Deletes what is no longer answered again. */
export async function forgetHandedOut({ database, now }: VerifyContext): Promise<SliceDone> {
  const isOld = lt(idempotency.createdAt, now - REMEMBERED_MS)
  return await deleteSlice(openDatabase(database), idempotency, isOld)
}

async function idOf({ scope, key }: Once): Promise<string> {
  return await sha256(`${scope}\n${key}`)
}

import { eq, exists, sql } from 'drizzle-orm'
import { hashStart, PASSWORD_ALGORITHMS, type PasswordAlgorithm } from '../../crypto/password.ts'
import { openDatabase } from '../../db/client.ts'
import type { SliceDone } from '../../db/delete-slice.ts'
import { meta, users } from '../../db/schema.ts'
import { HOUR_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** In `meta`: `only` or `mixed`, how the hashes of today begin, and when that was found. */
const NOTE = 'password_hashes'
/** The users are read through for it: no index tells how their hashes begin. */
const FRESH_MS = HOUR_MS

/** The note on the stored hashes, as a part of another query. */
export const passwordHashesNote = sql<string | null>`
  (select ${meta.value} from ${meta} where ${eq(meta.name, NOTE)})`

/**
 * The algorithms by which passwords are hashed here: all of them, unless the note says that every
 * stored hash was made as one is made today. Absent or of another setting, it says nothing.
 */
export function algorithmsInUse(
  note: string | null,
  algorithm: PasswordAlgorithm,
): readonly PasswordAlgorithm[] {
  const isOnly = note?.startsWith(`only ${hashStart(algorithm)} `) ?? false
  return isOnly ? [algorithm] : PASSWORD_ALGORITHMS
}

/** Notes whether all stored hashes were made as one is made today, once an hour. */
export async function notePasswordHashes(ctx: VerifyContext): Promise<SliceDone> {
  const { settings, now } = ctx
  const db = openDatabase(ctx.database)
  const start = hashStart(settings.passwordAlgorithm)
  const [note] = await db.select().from(meta).where(eq(meta.name, NOTE))
  const [, noted, at] = note?.value.split(' ') ?? []
  const isFresh = noted === start && Number(at) > now - FRESH_MS
  if (isFresh) return { done: 0, isMore: false }
  const others = db
    .select({ id: users.id })
    .from(users)
    .where(sql`instr(${users.passwordHash}, ${start}) <> 1`)
  const value = sql`iif(${exists(others)}, 'mixed', 'only') || ${` ${start} ${now}`}`
  await db
    .insert(meta)
    .values({ name: NOTE, value })
    .onConflictDoUpdate({ target: meta.name, set: { value: sql`excluded.value` } })
  return { done: 0, isMore: false }
}

import { drizzle, type DrizzleD1Database } from 'drizzle-orm/d1'

export type Database = DrizzleD1Database

/** The primary, never a replica: a replica's lag has no bound, and a revocation must have one. */
export function openDatabase(binding: D1Database): Database {
  return drizzle(binding)
}

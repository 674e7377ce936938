import { TypeID, typeidUnboxed } from 'typeid-js'
import { drawBase62 } from '../domain/base62.ts'
import { randomBytes } from './random.ts'

type IdPrefix = 'user' | 'sess' | 'dev' | 'key' | 'evt' | 'claim'

/** A new TypeID (a UUIDv7 with a prefix that says what it names): sortable by time of making. */
export function newId(prefix: IdPrefix): string {
  return typeidUnboxed(prefix)
}

/**
 * The id before all that are made from this time on (milliseconds): ids sort by their time, so a
 * table without an index on its times can be cut by its primary key.
 */
export function firstIdAt(prefix: IdPrefix, time: number): string {
  const hex = Math.max(0, time).toString(16).padStart(12, '0')
  return TypeID.fromUUID(
    prefix,
    `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`,
  ).toString()
}

/**
 * A new id of a charge: 71 random bits, so that no two charges of a key share one within the minute
 * for which it is remembered. Random, not counted: it needs no state of the isolate.
 */
export function newChargeId(): string {
  return drawBase62(12, randomBytes)
}

import { typeidUnboxed } from 'typeid-js'
import { drawBase62 } from '../domain/base62.ts'
import { randomBytes } from './random.ts'

type IdPrefix = 'user' | 'sess' | 'dev' | 'key' | 'evt' | 'claim'

/** A new TypeID (a UUIDv7 with a prefix that says what it names): sortable by time of making. */
export function newId(prefix: IdPrefix): string {
  return typeidUnboxed(prefix)
}

/**
 * A new id of a charge: 71 random bits, so that no two charges of a key share one within the minute
 * for which it is remembered. Random, not counted: it needs no state of the isolate.
 */
export function newChargeId(): string {
  return drawBase62(12, randomBytes)
}

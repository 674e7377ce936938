import { typeidUnboxed } from 'typeid-js'

type IdPrefix = 'user' | 'sess' | 'dev' | 'key' | 'evt' | 'claim'

/** A new TypeID (a UUIDv7 with a prefix that says what it names): sortable by time of making. */
export function newId(prefix: IdPrefix): string {
  return typeidUnboxed(prefix)
}

import { env } from 'cloudflare:workers'
import { tapDatabase } from './tapping.ts'

/** What requests have caused: D1 statements, rows that D1 says it wrote, calls to objects. */
export type Spent = { statements: number; rowsWritten: number; objectCalls: number }

/** An environment whose database and objects count what is asked of them. */
export function meterIo(given: Env = env): { readonly env: Env; readonly spent: Spent } {
  const spent: Spent = { statements: 0, rowsWritten: 0, objectCalls: 0 }
  const DB = tapDatabase(given.DB, async (texts, run) => {
    spent.statements += texts.length
    const result = await run()
    spent.rowsWritten += rowsWrittenIn(result)
    return result
  })
  const DEVICE_STATE = new Proxy(given.DEVICE_STATE, {
    get(target, property) {
      if (property === 'getByName' || property === 'get') spent.objectCalls += 1
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { env: { ...given, DB, DEVICE_STATE }, spent }
}

/** Of a statement's result or of a batch's: rows and entries of indexes, as D1 bills them. */
function rowsWrittenIn(result: unknown): number {
  if (Array.isArray(result)) return result.reduce((sum, each) => sum + rowsWrittenIn(each), 0)
  if (typeof result !== 'object' || result === null || !('meta' in result)) return 0
  const { meta } = result
  if (typeof meta !== 'object' || meta === null || !('rows_written' in meta)) return 0
  return Number(meta.rows_written)
}

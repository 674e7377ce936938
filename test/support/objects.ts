import { runInDurableObject } from 'cloudflare:test'
import { stateOf } from './limits.ts'

/** What is in an object that holds nothing. */
export const NOTHING = { filled: [], hasAlarm: false }

/** The tables of an object's storage that hold rows, and whether an alarm is set. */
export async function contentsOf(device: { readonly id: string }) {
  return await runInDurableObject(stateOf(device), async (_, { storage }) => {
    const tables = tablesIn(storage)
    const filled = tables.filter(
      (name) => storage.sql.exec(`select 1 from ${name} limit 1`).toArray().length > 0,
    )
    return { filled, hasAlarm: (await storage.getAlarm()) !== null }
  })
}

/** The tables of an object's storage, also those without rows. */
export async function tablesOf(device: { readonly id: string }): Promise<string[]> {
  return await runInDurableObject(stateOf(device), (_, { storage }) => tablesIn(storage))
}

function tablesIn(storage: DurableObjectStorage): string[] {
  return storage.sql
    .exec<{ name: string }>(
      `select name from sqlite_master where type = 'table' and name not like '\\_cf%' escape '\\'
         order by name`,
    )
    .toArray()
    .map(({ name }) => name)
}

import { env } from 'cloudflare:workers'
import { afterAll, expect } from 'vitest'
import { tapDatabase } from './tapping.ts'

/** Plans that read a whole table, or sort by themselves, and why they may. */
const EXCEPTIONS: readonly { readonly plan: RegExp; readonly reason: string }[] = [
  { plan: /^SCAN revocations/, reason: 'it holds the changes of some 17 minutes' },
  {
    plan: /^(SCAN page|USE TEMP B-TREE FOR GROUP BY).* from "revocations"/s,
    reason: 'a page of the feed is bounded',
  },
  { plan: /^SCAN sqlite_sequence/, reason: 'it holds one row for each table that counts' },
  { plan: /^USE TEMP B-TREE.* from "key_secrets"/s, reason: 'at most two secrets of a key live' },
  { plan: /^SCAN users: insert into "meta"/, reason: 'the cron does it once an hour' },
  { plan: /USING INDEX devices_unfolded/, reason: 'it holds only what is still to be folded' },
]

/** Every statement that the application ran in this file: Drizzle quotes names, tests do not. */
const statements = new Set<string>()

const plain = env.DB
const collecting = tapDatabase(plain, async (texts, run) => {
  for (const text of texts) if (text.includes('"')) statements.add(text)
  return await run()
})
Object.defineProperty(env, 'DB', { value: collecting, enumerable: true, configurable: true })

afterAll(async () => {
  const bad: string[] = []
  for (const statement of statements) {
    for (const step of await planOf(statement)) {
      const line = `${step}: ${statement}`
      if (isCostly(step) && !EXCEPTIONS.some(({ plan }) => plan.test(line))) bad.push(line)
    }
  }
  expect(bad).toEqual([])
})

async function planOf(statement: string): Promise<string[]> {
  const parameters = Array.from(statement.matchAll(/\?/g), () => null)
  const query = plain.prepare(`explain query plan ${statement}`).bind(...parameters)
  const { results } = await query.all<{ detail: string }>()
  return results.map(({ detail }) => detail)
}

/** Whether a step reads all rows of a table or an index, or sorts what an index did not. */
function isCostly(step: string): boolean {
  return (
    /^SCAN (?!json_each|named|picked|owner|later|earlier|CONSTANT|\()/.test(step) ||
    step.includes('TEMP B-TREE')
  )
}

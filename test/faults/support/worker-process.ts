// Runs a Worker on workerd until it is killed: `node worker-process.ts <options.json> [migrations]`.
import { once } from 'node:events'
import { globSync, readFileSync } from 'node:fs'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { process } from '../../../scripts/tools.ts'

const [, , optionsFile = '', migrations] = process.argv
const options = convertV4MiniflareOptions(JSON.parse(readFileSync(optionsFile, 'utf8')))
const miniflare = new Miniflare(options)
if (migrations !== undefined) await migrate(migrations)
process.stdout.write(`listens on ${(await miniflare.unsafeGetDirectURL()).origin}\n`)

// The other end of stdin closes when the test's process ends, however it ends.
process.stdin.resume()
await once(process.stdin, 'end')
await miniflare.dispose()

async function migrate(folder: string): Promise<void> {
  const database = await miniflare.getD1Database('DB')
  for (const file of globSync(`${folder}/*.sql`).toSorted()) {
    const statements = readFileSync(file, 'utf8').split('--> statement-breakpoint')
    await database.batch(statements.map((statement) => database.prepare(statement)))
  }
}

// `npm run db:check`: fails where src/db/schema.ts says other than the migrations in drizzle/.
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fail, runTool } from './tools.ts'

const scratch = mkdtempSync(join(tmpdir(), 'latchkey-migrations-'))
const { output, added } = generateInto(scratch)
rmSync(scratch, { recursive: true })

if (added.length > 0) {
  fail(
    `src/db/schema.ts has changes without a migration (${added.join(', ')}): npm run db:generate`,
  )
}
// drizzle-kit exits with 0 where it fails, as when it cannot ask whether a column was renamed.
if (!output.includes('No schema changes')) {
  fail(`${output}\n\nsrc/db/schema.ts could not be compared, or differs: npm run db:generate`)
}

function generateInto(folder: string): { output: string; added: string[] } {
  cpSync('drizzle', folder, { recursive: true })
  const committed = new Set(readdirSync(folder))
  // It takes an absolute --out for a relative one.
  const out = relative('.', folder)
  const schema = ['--dialect', 'sqlite', '--schema', './src/db/schema.ts']
  const { output } = runTool('drizzle-kit', ['generate', ...schema, '--out', out])
  const added = readdirSync(folder).filter((file) => !committed.has(file))
  return { output, added }
}

// `npm run check:columns`: fails where a line of src/ is longer than 100 columns. The formatter
// wraps code, and no comment.
import { globSync, readFileSync } from 'node:fs'
import { fail } from './tools.ts'

const COLUMNS_MAX = 100
const GENERATED = 'src/worker-configuration.d.ts'

const files = globSync('src/**/*.{ts,tsx}').filter((file) => file !== GENERATED)
const tooLong = files.flatMap((file) =>
  readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line, index) => {
      const columns = Array.from(line).length
      return columns > COLUMNS_MAX ? [`${file}:${index + 1} has ${columns} columns`] : []
    }),
)
if (tooLong.length > 0) fail(`${tooLong.join('\n')}\nA line may have ${COLUMNS_MAX} columns.`)

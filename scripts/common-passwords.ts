// `node scripts/common-passwords.ts <common-passwords.txt.gz>`: makes a Bloom filter of the most
// common passwords that are long enough to be set: src/domain/common-passwords-filter.ts.
//
// The list: Django 5.2.17 (BSD-3-Clause, © Django Software Foundation and individual contributors),
// django/contrib/auth/common-passwords.txt.gz: 20,000 passwords by Royce Williams, from breaches, in
// lower case, the most common first. To get it:
//   pip download django==5.2.17 --no-deps && unzip -j Django-*.whl '*/common-passwords.txt.gz'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { makeBloomFilter } from '../src/domain/bloom-filter.ts'
import { foldPassword, PASSWORD_MIN_CHARACTERS } from '../src/domain/password-policy.ts'
import { fail, process } from './tools.ts'

const LIST_SHA256 = '29ca0fa5303165f012f3e9775e3e95a3071cdd59f219973ec1cbb308d0214a6f'
const FILTER_BYTES = 12 * 1024
/** So few that the filter takes less than 1 in 1,000 other passwords for one of them. */
const ENTRIES = 6500
/** Of base64 in a line. */
const COLUMNS = 100

const [path] = process.argv.slice(2)
if (path === undefined) fail('usage: node scripts/common-passwords.ts <common-passwords.txt.gz>')
const list = gunzipSync(readFileSync(path))
if (createHash('sha256').update(list).digest('hex') !== LIST_SHA256) fail(`${path} is another list`)

const entries = list
  .toString()
  .split('\n')
  .map(foldPassword)
  .filter((password) => Array.from(password).length >= PASSWORD_MIN_CHARACTERS)
  .slice(0, ENTRIES)
const filter = Buffer.from(makeBloomFilter(entries, FILTER_BYTES)).toString('base64')
const lines = filter.match(new RegExp(`.{1,${COLUMNS}}`, 'g')) ?? []
writeFileSync(
  join(import.meta.dirname, '../src/domain/common-passwords-filter.ts'),
  `// Made by scripts/common-passwords.ts: do not edit.

/**
 * A Bloom filter (base64) of the ${ENTRIES} most common passwords of ${PASSWORD_MIN_CHARACTERS} characters or more in Django
 * 5.2.17's common-passwords.txt.gz, a list by Royce Williams (BSD-3-Clause, © Django Software
 * Foundation and individual contributors).
 */
export const COMMON_PASSWORDS_FILTER = \`
${lines.join('\n')}
\`
`,
)

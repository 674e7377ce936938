import { readFileSync } from 'node:fs'
import { getTableName, is } from 'drizzle-orm'
import { SQLiteTable } from 'drizzle-orm/sqlite-core'
import { describe, expect, it } from 'vitest'
import * as schema from '../../src/db/schema.ts'
import { BOUNDS } from '../../src/settings-schema.ts'

const README = readFileSync('README.md', 'utf8').split('\n')

describe('The README', () => {
  it.each(Object.entries(BOUNDS))('says between which bounds %s may be', (name, [min, max]) => {
    const rows = README.filter((line) => line.startsWith(`| \`${name}\` |`))
    expect(rows).toEqual([expect.stringContaining(` ${min} to ${max} `)])
  })
})

describe('docs/security.md', () => {
  it('says of every table what it holds and how long that stays', () => {
    const lines = readFileSync('docs/security.md', 'utf8').split('\n')
    const begin = lines.indexOf('## What is stored')
    const rows = lines.slice(begin + 1).filter((line) => line.startsWith('| `'))
    const documented = rows.flatMap((row) =>
      Array.from(row.split(' | ')[0]?.matchAll(/`(\w+)`/g) ?? [], ([, name]) => name),
    )
    const tables = Object.values(schema).filter((value) => is(value, SQLiteTable))
    expect(tables.length).toBeGreaterThan(10)
    for (const table of tables) expect(documented).toContain(getTableName(table))
  })
})

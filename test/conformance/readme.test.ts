import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { BOUNDS } from '../../src/settings-schema.ts'

const README = readFileSync('README.md', 'utf8').split('\n')

describe('The README', () => {
  it.each(Object.entries(BOUNDS))('says between which bounds %s may be', (name, [min, max]) => {
    const rows = README.filter((line) => line.startsWith(`| \`${name}\` |`))
    expect(rows).toEqual([expect.stringContaining(` ${min} to ${max} `)])
  })
})

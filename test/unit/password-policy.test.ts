import { describe, expect, it } from 'vitest'
import { makeBloomFilter, mayHold } from '../../src/domain/bloom-filter.ts'
import { isCommonPassword } from '../../src/domain/common-passwords.ts'
import { COMMON_PASSWORDS_FILTER } from '../../src/domain/common-passwords-filter.ts'
import { containsUsername } from '../../src/domain/password-policy.ts'

const WELL_KNOWN =
  '12345678 123456789 1234567890 password password1 password123 password! p@ssw0rd qwertyuiop ' +
  'qwerty123 1q2w3e4r 1qaz2wsx iloveyou sunshine princess football baseball superman 11111111 ' +
  '00000000 87654321 123123123 letmein1 changeme administrator'

describe('the filter of common passwords', () => {
  it('fits in 12 KB', () => {
    expect(Buffer.from(COMMON_PASSWORDS_FILTER, 'base64')).toHaveLength(12 * 1024)
  })

  it.each(WELL_KNOWN.split(' '))('holds %s, in any case and width', (password) => {
    expect(isCommonPassword(password)).toBe(true)
    expect(isCommonPassword(password.toUpperCase())).toBe(true)
    const wide = password.replaceAll(/[!-~]/g, (one) =>
      String.fromCharCode(one.charCodeAt(0) + 0xfee0),
    )
    expect(isCommonPassword(wide)).toBe(true)
  })

  it.each([
    ['numbered sentences', (index: number) => `a long password, number ${index}`],
    ['random characters', (index: number) => (index * 2_654_435_761 + 10 ** 12).toString(36)],
  ])('takes at most 1 in 1,000 %s for a common password', (_, passwordOf) => {
    const others = Array.from({ length: 100_000 }, (_, index) => passwordOf(index))
    expect(new Set(others).size).toBe(100_000)
    expect(others.filter(isCommonPassword).length).toBeLessThanOrEqual(100)
  })
})

describe('a Bloom filter', () => {
  it('holds each entry that it was made of, and nothing when it was made of none', () => {
    const entries = Array.from({ length: 500 }, (_, index) => `entry ${index}`)
    const filter = makeBloomFilter(entries, 1024)
    expect(entries.every((entry) => mayHold(filter, entry))).toBe(true)
    expect(mayHold(makeBloomFilter([], 1024), 'entry 1')).toBe(false)
  })
})

describe('a password', () => {
  it.each([
    ['ada', 'my name is ada', true],
    ['ada', 'my name is ADA', true],
    ['Ada', 'Canada is large', true],
    ['ａｄａ', 'my name is ada', true],
    ['ada', 'my name is a.d.a', false],
    ['ad', 'my name is ad', false],
    ['e\u0301va', 'my name is \u00e9va', true],
  ])('with the username %s contains it: %s (%s)', (username, password, expected) => {
    expect(containsUsername(password, username)).toBe(expected)
  })
})

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  foldForSearch,
  normalizeName,
  normalizeUsername,
  usernameKey,
} from '../../src/domain/names.ts'

/** What no name may hold, whatever stands around it: one code point each. */
const FORBIDDEN = Array.from(
  '\u0000\t\n\r\u001B\u007F\u0080\u0085\u009F\u2028\u2029' +
    '\u202A\u202B\u202C\u202D\u202E\u2066\u2067\u2068\u2069\uDC00\uDFFF\uD800\uDBFF',
)
/** What is drawn as nothing: default-ignorable and format characters, a blank Braille pattern. */
const INVISIBLE = Array.from(
  '\u00AD\u034F\u061C\u115F\u1160\u180E\u200B\u200C\u200D\u200E\u200F\u2060\u2064\u2800' +
    '\u3164\uFE00\uFE0F\uFFA0\uFFF9\u{E0001}\u{E0061}\u{E0100}',
)
const SPACES = Array.from(' \u00A0\u2003\u3000\uFEFF')

const codes = (text: string): string =>
  Array.from(text, (character) => `U+${character.codePointAt(0)?.toString(16)}`).join(' ')

describe('normalizeName', () => {
  it.each([
    ['one character', 'x', 'x'],
    ['spaces inside', 'Front door', 'Front door'],
    ['form D becomes form C', 'Cafe\u0301', 'Caf\u00E9'],
    ['80 characters', 'x'.repeat(80), 'x'.repeat(80)],
    ['80 emoji: code points, not UTF-16 units', '😀'.repeat(80), '😀'.repeat(80)],
    ['80 after normalizing, 160 before', 'e\u0301'.repeat(80), '\u00E9'.repeat(80)],
    ['a joined emoji', '👩\u200D🚒', '👩\u200D🚒'],
    ['right-to-left letters', 'שלום', 'שלום'],
    ['what stands between spaces', ' \u3000Front door\u00A0', 'Front door'],
    ['an emoji with a variation selector', '❤\uFE0F', '❤\uFE0F'],
    ['a letter beside a joiner', 'x\u200D', 'x\u200D'],
  ])('takes %s', (_, given, kept) => {
    expect(normalizeName(given)).toBe(kept)
  })

  it.each([
    ['nothing', ''],
    ['a space', ' '],
    ['spaces of other scripts', '\u00A0\u3000\u2003'],
    ['81 characters', 'x'.repeat(81)],
    ['81 emoji', '😀'.repeat(81)],
    ['81 after normalizing, 27 before', '\u{1D160}'.repeat(27)],
  ])('refuses %s', (_, given) => {
    expect(normalizeName(given)).toBeUndefined()
  })

  it.each(FORBIDDEN.map((text) => [codes(text), text]))('refuses %s anywhere', (_, text) => {
    for (const given of [text, `${text}door`, `do${text}or`, `door${text}`]) {
      expect(normalizeName(given)).toBeUndefined()
    }
  })

  it.each(INVISIBLE.map((text) => [codes(text), text]))('refuses %s alone', (_, text) => {
    for (const given of [text, text.repeat(5), ` ${text} `]) {
      expect(normalizeName(given)).toBeUndefined()
    }
    expect(normalizeName(`do${text}or`)).toBe(`do${text}or`.normalize('NFC'))
  })

  it('keeps what it has made as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const once = normalizeName(text)
        if (once !== undefined) expect(normalizeName(once)).toBe(once)
      }),
    )
  })
})

describe('usernames', () => {
  it.each([
    ['3 characters', 'bob', 'bob'],
    ['64 characters', 'x'.repeat(64), 'x'.repeat(64)],
    ['64 emoji', '😀'.repeat(64), '😀'.repeat(64)],
    ['form D becomes form C', 'zoe\u0308', 'zo\u00EB'],
    ['its own case', 'Alice.Smith@example.com', 'Alice.Smith@example.com'],
  ])('takes %s', (_, given, kept) => {
    expect(normalizeUsername(given)).toBe(kept)
  })

  it.each([
    ['nothing', ''],
    ['2 characters', 'ab'],
    ['2 after normalizing, 3 before', 'be\u0301'],
    ['2 emoji of 4 units', '😀😀'],
    ['65 characters', 'x'.repeat(65)],
    ['65 emoji', '😀'.repeat(65)],
  ])('refuses %s', (_, given) => {
    expect(normalizeUsername(given)).toBeUndefined()
  })

  it.each([...FORBIDDEN, ...INVISIBLE, ...SPACES].map((text) => [codes(text), text]))(
    'refuses %s anywhere',
    (_, text) => {
      for (const given of [`${text}alice`, `al${text}ice`, `alice${text}`]) {
        expect(normalizeUsername(given)).toBeUndefined()
      }
    },
  )

  it.each([
    ['alice', 'alice'],
    ['ALICE', 'alice'],
    ['ＡＬＩＣＥ', 'alice'],
    ['Ｍｉｘｅｄ', 'mixed'],
    ['STRAẞE', 'straße'],
    ['Straße', 'straße'],
    ['\uFB01nn', 'finn'],
    ['\u2167', 'viii'],
    ['\u212Aelvin', 'kelvin'],
    ['\u212Bngström', 'ångström'],
    ['E\u0301MILE', 'émile'],
    ['ÉMILE', 'émile'],
    ['J\u030Can', '\u01F0an'],
  ])('%s is the same person as %s', (username, key) => {
    expect(usernameKey(username)).toBe(key)
  })

  it('keeps a key as it is: for every code point, and for strings', () => {
    const changed: string[] = []
    for (let point = 0; point < 0x2_00_00; point += 1) {
      const once = usernameKey(String.fromCodePoint(point))
      if (usernameKey(once) !== once) changed.push(codes(String.fromCodePoint(point)))
    }
    expect(changed).toEqual([])
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(usernameKey(usernameKey(text))).toBe(usernameKey(text))
      }),
    )
  })
})

describe('foldForSearch', () => {
  it.each([
    ['CAFE\u0301', 'Café'],
    ['ÅNGSTRÖM', 'ångström'],
    ['STRASSE', 'straße'],
    ['ΟΔΟΣ', 'οδος'],
    ['ΟΔΟΣ', 'οδοσ'],
    ['ＤＯＯＲ', 'door'],
    ['\uFB01lter', 'FILTER'],
    ['ПРИВЕТ', 'привет'],
  ])('finds %s by %s', (name, search) => {
    expect(foldForSearch(name)).toBe(foldForSearch(search))
  })

  it('keeps accents apart', () => {
    expect(foldForSearch('Café')).not.toBe(foldForSearch('Cafe'))
  })

  it('keeps what it has made as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(foldForSearch(foldForSearch(text))).toBe(foldForSearch(text))
      }),
    )
  })
})

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { drawBase62, encodeBase62, reduceToBase62 } from '../../src/domain/base62.ts'
import { hintOf, KEY_PREFIX_PATTERN, parsePresentedSecret } from '../../src/domain/key-format.ts'
import { parseRefreshToken, refreshTokenStart } from '../../src/domain/refresh-token-format.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

describe('base62', () => {
  it.each([
    [0, 1, '0'],
    [0, 8, '00000000'],
    [9, 1, '9'],
    [10, 1, 'A'],
    [35, 1, 'Z'],
    [36, 1, 'a'],
    [61, 1, 'z'],
    [62, 2, '10'],
    [62, 4, '0010'],
    [3843, 2, 'zz'],
    [2 ** 47 - 1, 8, 'dxlGgaI3'],
    [62 ** 8 - 1, 8, 'zzzzzzzz'],
    [Number.MAX_SAFE_INTEGER, 9, 'fFgnDxSe7'],
  ])('writes %d in %d characters', (value, width, text) => {
    expect(encodeBase62(value, width)).toBe(text)
  })

  it.each([
    [-1, 8],
    [1.5, 8],
    [Number.NaN, 8],
    [Number.POSITIVE_INFINITY, 8],
    [2 ** 53, 12],
    [62, 1],
    [3844, 2],
    [62 ** 8, 8],
  ])('refuses %d in %d characters', (value, width) => {
    expect(() => encodeBase62(value, width)).toThrow(RangeError)
  })

  it('has a fixed width and can be read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 47 - 1 }), (value) => {
        const text = encodeBase62(value, 8)
        expect(text).toHaveLength(8)
        let read = 0n
        for (const character of text) read = read * 62n + BigInt(ALPHABET.indexOf(character))
        expect(read).toBe(BigInt(value))
      }),
    )
  })

  it('draws by rejection: bytes from 248 up are dropped, and only what lacks is asked for', () => {
    const script = [[0, 248, 255, 61], [62, 249], [250], [247]]
    const asked: number[] = []
    const drawn = drawBase62(4, (count) => {
      asked.push(count)
      return Uint8Array.from(script.shift() ?? [])
    })
    expect(drawn).toBe('0z0z')
    expect(asked).toEqual([4, 2, 1, 1])
  })

  it('maps the bytes 0 to 247 evenly: four to each character', () => {
    const counts = new Map<string, number>()
    for (let byte = 0; byte < 248; byte += 1) {
      const character = drawBase62(1, () => Uint8Array.of(byte))
      counts.set(character, (counts.get(character) ?? 0) + 1)
    }
    expect([...counts.keys()].join('')).toBe(ALPHABET)
    expect(new Set(counts.values())).toEqual(new Set([4]))
  })

  it('reduces 32 bytes to what remains of them after a division by 62^32', () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(bytes, (bytes) => {
        const text = reduceToBase62(bytes, 32)
        expect(text).toHaveLength(32)
        let read = 0n
        for (const character of text) read = read * 62n + BigInt(ALPHABET.indexOf(character))
        expect(read).toBe(BigInt(`0x${Buffer.from(bytes).toString('hex')}`) % 62n ** 32n)
      }),
    )
  })

  it('does not reduce bytes that hold less than 64 bits more than the characters', () => {
    expect(reduceToBase62(new Uint8Array(32), 32)).toBe('0'.repeat(32))
    expect(() => reduceToBase62(new Uint8Array(31), 32)).toThrow(RangeError)
    expect(() => reduceToBase62(new Uint8Array(32), 33)).toThrow(RangeError)
  })
})

const RANDOM = 'abcdefghijklmnopqrstuvwxyzABCDEF'
const SHAPED = `lk_${RANDOM}01234567`

describe('the format of a secret', () => {
  it('splits the 43 characters into what is checked and the check', () => {
    expect(SHAPED).toHaveLength(43)
    expect(parsePresentedSecret(SHAPED, 'lk')).toEqual({
      kind: 'checked',
      unchecked: `lk_${RANDOM}`,
      check: '01234567',
    })
    expect(parsePresentedSecret(`acme2_${RANDOM}zZ9aA012`, 'acme2')).toEqual({
      kind: 'checked',
      unchecked: `acme2_${RANDOM}`,
      check: 'zZ9aA012',
    })
  })

  it.each([
    ['one character short', SHAPED.slice(0, -1)],
    ['one character long', `${SHAPED}0`],
    ['a newline after it', `${SHAPED}\n`],
    ['a space before it', ` ${SHAPED}`],
    ['the prefix alone', 'lk_'],
    ['no base62 inside', `${SHAPED.slice(0, 20)}-${SHAPED.slice(21)}`],
    ['an underscore inside', `${SHAPED.slice(0, 20)}_${SHAPED.slice(21)}`],
    ['another script inside', `${SHAPED.slice(0, 20)}é${SHAPED.slice(21)}`],
    ['nothing', ''],
    ['15 characters', 'x'.repeat(15)],
    ['257 characters', 'x'.repeat(257)],
    ['a space inside', 'sk_live_0123456 789'],
    ['a tab inside', 'sk_live_0123456\t789'],
    ['NUL inside', 'sk_live_0123456\u0000789'],
    ['DEL inside', 'sk_live_0123456\u007F789'],
    ['é inside', 'sk_live_0123456é789'],
    ['a newline at the end', 'sk_live_0123456789\n'],
  ])('malformed: %s', (_, presented) => {
    expect(parsePresentedSecret(presented, 'lk')).toEqual({ kind: 'malformed' })
  })

  it.each([
    ['16 characters', 'x'.repeat(16)],
    ['256 characters', 'x'.repeat(256)],
    ['the first and the last visible character', `!${'x'.repeat(14)}~`],
    ['another prefix', `test_${RANDOM}01234567`],
    ['our prefix in capitals', `LK${SHAPED.slice(2)}`],
    ['our prefix without its underscore', SHAPED.replace('_', '')],
    ['a prefix that ours begins', `lkr${SHAPED.slice(2)}`],
  ])('foreign: %s', (_, presented) => {
    expect(parsePresentedSecret(presented, 'lk')).toEqual({ kind: 'foreign' })
  })

  it('never takes a string with our prefix for a foreign one', () => {
    const tail = fc.oneof(fc.string(), fc.string({ minLength: 16, maxLength: 300 }))
    fc.assert(
      fc.property(tail, (text) => {
        const { kind } = parsePresentedSecret(`lk_${text}`, 'lk')
        expect(kind).toBe(/^[0-9A-Za-z]{40}$/.test(text) ? 'checked' : 'malformed')
      }),
    )
  })

  it('shows the prefix and six characters', () => {
    expect(hintOf(SHAPED, 'lk')).toBe('lk_abcdef…')
    expect(hintOf(`acme2_${RANDOM}01234567`, 'acme2')).toBe('acme2_abcdef…')
  })

  it.each(['lk', 'a1', 'abcdefghijkl'])('takes the prefix %s', (prefix) => {
    expect(KEY_PREFIX_PATTERN.test(prefix)).toBe(true)
  })

  it.each(['', 'l', 'Lk', '1k', 'lk_', 'l-k', 'lk\n', 'abcdefghijklm'])('refuses %j', (prefix) => {
    expect(KEY_PREFIX_PATTERN.test(prefix)).toBe(false)
  })
})

describe('the format of a refresh token', () => {
  const suffix = '01h455vb4pex5vsknk084sn02q'
  const token = `lkr_${suffix}${RANDOM}01234567`

  it('names its session and comes back from it', () => {
    expect(refreshTokenStart(`sess_${suffix}`)).toBe(`lkr_${suffix}`)
    expect(parseRefreshToken(token)).toEqual({
      sessionId: `sess_${suffix}`,
      unchecked: `lkr_${suffix}${RANDOM}`,
      check: '01234567',
    })
  })

  it.each([
    '',
    token.slice(0, -1),
    `${token}0`,
    `${token}\n`,
    ` ${token}`,
    token.replace('lkr_', 'lk_'),
    token.replace('lkr_0', 'lkr_8'),
    token.replace('vb4', 'VB4'),
    ...['i', 'l', 'o', 'u'].map((letter) => token.replace('vb4', `v${letter}4`)),
    `${token.slice(0, -1)}-`,
  ])('refuses %j', (presented) => {
    expect(parseRefreshToken(presented)).toBeUndefined()
  })
})

/**
 * The code that a person types (RFC 8628 §6.1): eight of twenty consonants, so that no word comes
 * out, no letter is taken for a digit, and there are 20^8, some 2^34 of them.
 */

const LETTERS = 'BCDFGHJKLMNPQRSTVWXZ'
const LENGTH = 8

/** The largest multiple of 20 that a byte can hold: bytes from here up are thrown away. */
const UNBIASED_BYTES = 240

const TYPED = new RegExp(`^[${LETTERS}]{${LENGTH}}$`, 'i')

/** What people put between letters: white space, and any kind of dash. */
const SEPARATORS = /[\s\p{Pd}]/gu

/**
 * Draws a code without modulo bias, by rejection sampling.
 * @param randomBytes a source of that many uniformly random bytes
 */
export function drawUserCode(randomBytes: (count: number) => Uint8Array): string {
  let code = ''
  while (code.length < LENGTH) {
    for (const byte of randomBytes(LENGTH - code.length)) {
      if (byte < UNBIASED_BYTES) code += LETTERS.charAt(byte % LETTERS.length)
    }
  }
  return code
}

/** The code that somebody typed, in any case and with or without its dash; undefined if none. */
export function parseUserCode(typed: string): string | undefined {
  const letters = typed.replaceAll(SEPARATORS, '')
  return TYPED.test(letters) ? letters.toUpperCase() : undefined
}

/** The code as it is shown: `XXXX-XXXX`. */
export function showUserCode(code: string): string {
  return `${code.slice(0, LENGTH / 2)}-${code.slice(LENGTH / 2)}`
}

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The largest multiple of 62 that a byte can hold: bytes from here up are thrown away. */
const UNBIASED_BYTES = 248

const BITS_A_CHARACTER = Math.log2(62)

/**
 * Encodes a whole number in base62, padded to a fixed width.
 * @throws RangeError when the value is not a safe non-negative integer or does not fit.
 */
export function encodeBase62(value: number, width: number): string {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError('not a safe whole number')
  let rest = value
  let text = ''
  for (let place = 0; place < width; place += 1) {
    text = ALPHABET.charAt(rest % 62) + text
    rest = Math.floor(rest / 62)
  }
  if (rest > 0) throw new RangeError(`does not fit ${width} base62 characters`)
  return text
}

/**
 * Draws base62 characters without modulo bias, by rejection sampling.
 * @param randomBytes a source of that many uniformly random bytes
 */
export function drawBase62(length: number, randomBytes: (count: number) => Uint8Array): string {
  let text = ''
  while (text.length < length) {
    for (const byte of randomBytes(length - text.length)) {
      if (byte < UNBIASED_BYTES) text += ALPHABET.charAt(byte % 62)
    }
  }
  return text
}

/**
 * Maps uniformly random bytes to base62 characters, always in the same way. The bytes must hold
 * 64 bits more than the characters: the bias of the remainder is then below 2^-64 (FIPS 186-5
 * §A.2.1).
 * @throws RangeError when there are fewer
 */
export function reduceToBase62(bytes: Uint8Array, length: number): string {
  if (bytes.length * 8 < length * BITS_A_CHARACTER + 64) throw new RangeError('too few bytes')
  let rest = 0n
  for (const byte of bytes) rest = rest * 256n + BigInt(byte)
  let text = ''
  for (let place = 0; place < length; place += 1) {
    text = ALPHABET.charAt(Number(rest % 62n)) + text
    rest /= 62n
  }
  return text
}

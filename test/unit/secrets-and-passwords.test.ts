import { pbkdf2Sync, scryptSync } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { newId } from '../../src/crypto/ids.ts'
import { isCheckGenuine, makeCheck, type CheckSecret } from '../../src/crypto/key-check.ts'
import {
  decoyHash,
  hashPassword,
  needsRehash,
  verifyPassword,
  type PasswordAlgorithm,
} from '../../src/crypto/password.ts'
import { makeRefreshToken, makeSecret } from '../../src/crypto/secrets.ts'
import { parsePresentedSecret } from '../../src/domain/key-format.ts'
import { parseRefreshToken } from '../../src/domain/refresh-token-format.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const counting = Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('base64url')
const FIRST: CheckSecret = { id: 'first', key: counting }
const SECOND: CheckSecret = { id: 'second', key: Buffer.alloc(48, 7).toString('base64url') }
const STRANGE: CheckSecret = { id: 'first', key: Buffer.alloc(32, 9).toString('base64url') }

/** DESIGN §4, written down anew: the first 47 bits of the HMAC, in eight base62 characters. */
async function expectedCheck(unchecked: string, secret: CheckSecret): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const raw = Buffer.from(secret.key, 'base64url')
  const key = await crypto.subtle.importKey('raw', raw, algorithm, false, ['sign'])
  const mac = Buffer.from(await crypto.subtle.sign('HMAC', key, Buffer.from(unchecked)))
  let rest = BigInt(`0x${mac.toString('hex')}`) >> (256n - 47n)
  let text = ''
  while (text.length < 8) {
    text = ALPHABET.charAt(Number(rest % 62n)) + text
    rest /= 62n
  }
  return text
}

describe('the check of a secret', () => {
  it('is a fixed function: secrets in the field must stay genuine', async () => {
    const unchecked = 'lk_abcdefghijklmnopqrstuvwxyzABCDEF'
    expect(await makeCheck(unchecked, FIRST)).toBe('DGhr5Ncl')
    expect(await isCheckGenuine(unchecked, 'DGhr5Ncl', [FIRST])).toBe(true)
  })

  it('is the first 47 bits of the HMAC over everything before it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), async (unchecked) => {
        for (const secret of [FIRST, SECOND]) {
          expect(await makeCheck(unchecked, secret)).toBe(await expectedCheck(unchecked, secret))
        }
      }),
    )
  })

  it('is made by the first secret and verified by all that are listed', async () => {
    const { secret } = await makeSecret('lk', [SECOND, FIRST])
    const [unchecked, check] = [secret.slice(0, -8), secret.slice(-8)]
    expect(check).toBe(await expectedCheck(unchecked, SECOND))
    expect(await isCheckGenuine(unchecked, check, [SECOND])).toBe(true)
    expect(await isCheckGenuine(unchecked, check, [FIRST, SECOND])).toBe(true)
    expect(await isCheckGenuine(unchecked, check, [FIRST, STRANGE])).toBe(false)
  })

  it('fails when any one of the 43 characters is another', async () => {
    const { secret } = await makeSecret('lk', [FIRST])
    expect(await isCheckGenuine(secret.slice(0, -8), secret.slice(-8), [FIRST])).toBe(true)
    for (let place = 0; place < 43; place += 1) {
      for (const character of ['0', '1', 'A', 'a', 'z', secret.charAt(place).toUpperCase()]) {
        if (character === secret.charAt(place)) continue
        const altered = secret.slice(0, place) + character + secret.slice(place + 1)
        const genuine = await isCheckGenuine(altered.slice(0, -8), altered.slice(-8), [FIRST])
        expect(genuine, `${character} at ${place}`).toBe(false)
      }
    }
  })

  it.each(['', 'DGhr5Nc', 'DGhr5Ncl0', ' DGhr5Ncl', 'dghr5ncl', 'éDGhr5N', '👩👩'])(
    'is not %j',
    async (check) => {
      const unchecked = 'lk_abcdefghijklmnopqrstuvwxyzABCDEF'
      expect(await isCheckGenuine(unchecked, check, [FIRST, SECOND])).toBe(false)
    },
  )
})

describe('new secrets', () => {
  it('have the documented shape, and keep only hash, hint and check id', async () => {
    for (const prefix of ['lk', 'acme2']) {
      const made = await makeSecret(prefix, [SECOND, FIRST])
      expect(made.secret).toMatch(/^[a-z][a-z0-9]{1,11}_[0-9A-Za-z]{40}$/)
      expect(made.secret.startsWith(`${prefix}_`)).toBe(true)
      expect(parsePresentedSecret(made.secret, prefix).kind).toBe('checked')
      const digest = await crypto.subtle.digest('SHA-256', Buffer.from(made.secret))
      expect(made).toEqual({
        secret: made.secret,
        hash: Buffer.from(digest).toString('base64url'),
        hint: `${made.secret.slice(0, prefix.length + 7)}…`,
        checkId: 'second',
      })
    }
    // FIPS 180-2, appendix B.1
    expect(await sha256('abc')).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0')
  })

  it('are distinct, and random in each of the 32 places', async () => {
    const all = await Promise.all(Array.from({ length: 1000 }, () => makeSecret('lk', [FIRST])))
    expect(new Set(all.map((made) => made.secret)).size).toBe(1000)
    expect(new Set(all.map((made) => made.hash)).size).toBe(1000)
    for (let place = 3; place < 35; place += 1) {
      const seen = new Set(all.map((made) => made.secret.charAt(place)))
      expect(seen.size, `characters seen at ${place}`).toBeGreaterThan(50)
    }
  })

  it('refresh tokens name their session and carry a check of their own', async () => {
    const sessionId = newId('sess')
    const { token, hash } = await makeRefreshToken(sessionId, [SECOND, FIRST])
    const parsed = parseRefreshToken(token)
    expect(parsed?.sessionId).toBe(sessionId)
    expect(parsed?.check).toBe(await expectedCheck(token.slice(0, -8), SECOND))
    expect(parsed?.unchecked).toBe(token.slice(0, -8))
    expect(hash).toBe(await sha256(token))
    expect((await makeRefreshToken(sessionId, [FIRST])).token).not.toBe(token)
  })
})

const text = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')
const PHC = {
  scrypt: /^\$scrypt\$ln=14,r=8,p=5\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/,
  pbkdf2: /^\$pbkdf2-sha256\$i=100000\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/,
}

const spent = (run: () => void): number => {
  const start = performance.now()
  run()
  return performance.now() - start
}

describe('passwords', () => {
  it.each<PasswordAlgorithm>(['scrypt', 'pbkdf2'])(
    '%s: the right one and no other',
    (algorithm) => {
      const password = 'pässwörd 🔑 \u0000 x'
      const stored = hashPassword(password, algorithm)
      expect(stored).toMatch(PHC[algorithm])
      expect(hashPassword(password, algorithm)).not.toBe(stored)
      expect(verifyPassword(password, stored)).toBe(true)
      for (const other of ['', password.slice(0, -1), `${password} `, 'PÄSSWÖRD 🔑 \u0000 X']) {
        expect(verifyPassword(other, stored)).toBe(false)
      }
      expect(needsRehash(stored, algorithm)).toBe(false)
      expect(needsRehash(stored, algorithm === 'scrypt' ? 'pbkdf2' : 'scrypt')).toBe(true)
    },
  )

  it.each([
    // RFC 7914 §12 (the first 32 bytes) and §11
    [
      'pleaseletmein',
      `$scrypt$ln=14,r=8,p=1$${text(Buffer.from('SodiumChloride'))}`,
      '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2',
    ],
    [
      'Password',
      `$pbkdf2-sha256$i=80000$${text(Buffer.from('NaCl'))}`,
      '4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56',
    ],
  ])('agree with the RFC on %s', (password, start, hex) => {
    const stored = `${start}$${text(Buffer.from(hex, 'hex'))}`
    expect(verifyPassword(password, stored)).toBe(true)
    expect(verifyPassword(`${password}.`, stored)).toBe(false)
    for (const algorithm of ['scrypt', 'pbkdf2'] as const) {
      expect(needsRehash(stored, algorithm)).toBe(true)
    }
  })

  /** A stored string as another program would write it: the right hash for its parameters. */
  function storedBy(algorithm: string, cost: Record<string, number>): string {
    const { ln = 1, r = 1, p = 1, i = 1 } = cost
    const salt = Buffer.alloc(16, 1)
    const hash =
      algorithm === 'scrypt'
        ? scryptSync('right', salt, 32, { N: 2 ** ln, r, p, maxmem: 2 ** 27 })
        : pbkdf2Sync('right', salt, i, 32, 'sha256')
    const parameters = Object.entries(cost).map((entry) => entry.join('='))
    return `$${algorithm}$${parameters.join(',')}$${text(salt)}$${text(hash)}`
  }

  it.each([
    ['scrypt', { ln: 1, r: 1, p: 1 }, true],
    ['scrypt', { ln: 15, r: 8, p: 1 }, true],
    ['scrypt', { ln: 16, r: 8, p: 1 }, false],
    ['scrypt', { ln: 10, r: 9, p: 1 }, false],
    ['scrypt', { ln: 10, r: 8, p: 6 }, false],
    ['scrypt', { r: 8, ln: 10, p: 1 }, false],
    ['pbkdf2-sha256', { i: 1 }, true],
    ['pbkdf2-sha256', { i: 100_000 }, true],
    ['pbkdf2-sha256', { i: 100_001 }, false],
    ['pbkdf2', { i: 1000 }, false],
  ])('bound what a stored string may ask for: %s %j', (algorithm, cost, expected) => {
    const stored = storedBy(algorithm, cost)
    expect(verifyPassword('right', stored)).toBe(expected)
    expect(verifyPassword('wrong', stored)).toBe(false)
  })

  it('match nothing that is malformed, and compute nothing for what is hostile', () => {
    const stored = storedBy('scrypt', { ln: 10, r: 8, p: 1 })
    const [, , , salt = '', hash = ''] = stored.split('$')
    const scrypts =
      '|ln=10|ln=31,r=8,p=1|ln=99,r=8,p=5|ln=10,r=99,p=1|ln=10,r=8,p=99|ln=1000,r=8,p=1|' +
      'ln=-1,r=8,p=1|ln=1e1,r=8,p=1|ln=10,r=8,p=1,x=1|ln=10,r=8,p=1 |LN=10,r=8,p=1|ln=,r=,p='
    const iterations = '|i=|i=0|i=-1|i=1e3|i=999999|i=4294967296|i=1,i=1|x=1'
    const hostile = [
      ...scrypts.split('|').map((cost) => `$scrypt$${cost}$${salt}$${hash}`),
      ...iterations.split('|').map((cost) => `$pbkdf2-sha256$${cost}$${salt}$${hash}`),
      ...'|$|$$$$|$$$$$|right|none|\u0000|$2b$12$abcdefghijklmnopqrstuv'.split('|'),
      `${stored}$`,
      `$${stored}`,
      ` ${stored}`,
      stored.slice(1),
      stored.replace(hash, ''),
      stored.replace(salt, ''),
      stored.replace(`$${hash}`, ''),
      stored.replace('scrypt', 'argon2id'),
    ]
    const spentOnHostile = spent(() => {
      for (const text of hostile) {
        for (const password of ['', 'right', text]) {
          expect(verifyPassword(password, text), text).toBe(false)
        }
      }
    })
    expect(spentOnHostile).toBeLessThan(spent(() => hashPassword('right', 'scrypt')))
    expect(verifyPassword('right', stored)).toBe(true)
    expect(verifyPassword('right', stored.slice(0, -4))).toBe(false)
    expect(verifyPassword('right', `${stored}AAAA`)).toBe(false)
  })

  it.each<PasswordAlgorithm>(['scrypt', 'pbkdf2'])('%s: the decoy costs a hash', (algorithm) => {
    const decoy = decoyHash(algorithm)
    expect(decoy).toMatch(PHC[algorithm])
    for (const password of ['', 'password', '\u0000', decoy]) {
      expect(verifyPassword(password, decoy)).toBe(false)
    }
  })
})

import { createHash, createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { isCheckGenuine, makeCheck } from '../../src/crypto/key-check.ts'
import { deriveSuccessors } from '../../src/crypto/refresh-successor.ts'
import { reduceToBase62 } from '../../src/domain/base62.ts'
import { parseRefreshToken } from '../../src/domain/refresh-token-format.ts'

const ACTIVE = { id: 'a', key: Buffer.alloc(32, 1).toString('base64url') }
const LISTED = { id: 'b', key: Buffer.alloc(32, 2).toString('base64url') }
const SESSION = 'lkr_01h455vb4pex5vsknk084sn02q'
const PRESENTED = { presented: `${SESSION}${'x'.repeat(40)}`, start: SESSION }
const MINUTE_MS = 60_000
const NOON = Date.UTC(2026, 11, 24, 12)

/** What is derived at a time under the secrets: the new one, and all. */
async function derive(now: number, presented = PRESENTED) {
  const { newHash, tokens } = await deriveSuccessors(presented, [ACTIVE, LISTED], now)
  return { newest: tokens.get(newHash) ?? '', all: [...tokens.values()] }
}

describe('the successor of a refresh token', () => {
  it('is a fixed function of the token, the minute and the active check secret', async () => {
    const text = `refresh: ${PRESENTED.presented} ${NOON / MINUTE_MS}`
    const mac = createHmac('sha256', Buffer.alloc(32, 1)).update(text).digest()
    const unchecked = SESSION + reduceToBase62(mac, 32)
    const expected = unchecked + (await makeCheck(unchecked, ACTIVE))
    expect((await derive(NOON)).newest).toBe(expected)
    expect((await derive(NOON + MINUTE_MS - 1)).newest).toBe(expected)
    expect((await derive(NOON + MINUTE_MS)).newest).not.toBe(expected)
    expect((await derive(NOON - 1)).newest).not.toBe(expected)
  })

  it('has the shape of a refresh token of the session, and a genuine check', async () => {
    for (const token of (await derive(NOON)).all) {
      const { unchecked = '', check = '' } = parseRefreshToken(token) ?? {}
      expect(token.startsWith(SESSION)).toBe(true)
      expect(await isCheckGenuine(unchecked, check, [ACTIVE, LISTED])).toBe(true)
    }
  })

  it('is known by the hash of the whole token', async () => {
    const { tokens } = await deriveSuccessors(PRESENTED, [ACTIVE], NOON)
    for (const [hash, token] of tokens) {
      expect(hash).toBe(createHash('sha256').update(token).digest('base64url'))
    }
  })

  it('is recognised from a minute before it was made until two minutes after it', async () => {
    const { newest } = await derive(NOON)
    const recognised: number[] = []
    for (let minutes = -4; minutes <= 4; minutes += 1) {
      const { all } = await derive(NOON + minutes * MINUTE_MS)
      if (all.includes(newest)) recognised.push(minutes)
    }
    expect(recognised).toEqual([-1, 0, 1, 2])
  })

  it('is recognised by whoever lists the secret under which it was made', async () => {
    const { newHash } = await deriveSuccessors(PRESENTED, [ACTIVE], NOON)
    const tokensOf = async (...checks: Parameters<typeof deriveSuccessors>[1]) =>
      (await deriveSuccessors(PRESENTED, checks, NOON)).tokens
    expect((await tokensOf(LISTED, ACTIVE)).has(newHash)).toBe(true)
    expect((await tokensOf(ACTIVE, LISTED)).has(newHash)).toBe(true)
    expect((await tokensOf(LISTED)).has(newHash)).toBe(false)
  })

  it('differs in each of its 32 places from one token to another', async () => {
    const places = Array.from({ length: 32 }, () => new Set<string>())
    for (let count = 0; count < 400; count += 1) {
      const presented = { ...PRESENTED, presented: `${SESSION}${String(count).padStart(40, '0')}` }
      const { newest } = await derive(NOON, presented)
      places.forEach((seen, place) => seen.add(newest.charAt(SESSION.length + place)))
    }
    // 400 draws miss about 0.1 of the 62 characters.
    for (const seen of places) expect(seen.size).toBeGreaterThan(55)
  })
})

import { describe, expect, it } from 'vitest'
import { hashDeviceCode, makeClaimCodes, userCodeHmacs } from '../../src/crypto/claim-codes.ts'
import { sha256 } from '../../src/crypto/digest.ts'
import { type CheckSecret, isCheckGenuine, makeCheck } from '../../src/crypto/key-check.ts'
import { parsePresentedSecret } from '../../src/domain/key-format.ts'
import {
  decidePoll,
  pacePoll,
  type PolledClaim,
  type PollPace,
} from '../../src/domain/claim-poll.ts'
import { withSuffix } from '../../src/domain/names.ts'
import { narrowsScopes } from '../../src/domain/scopes.ts'
import { drawUserCode, parseUserCode, showUserCode } from '../../src/domain/user-code.ts'

const LETTERS = 'BCDFGHJKLMNPQRSTVWXZ'

const secretOf = (id: string, fill: number): CheckSecret => ({
  id,
  key: Buffer.alloc(32, fill).toString('base64url'),
})
const OLD = secretOf('old', 1)
const NEW = secretOf('new', 2)

describe('a user code (RFC 8628 §6.1)', () => {
  it('is drawn by rejection: bytes from 240 up are dropped, and only what lacks is asked for', () => {
    const script = [[0, 19, 20, 239, 240, 255, 1, 2], [241, 3], [4]]
    const asked: number[] = []
    const code = drawUserCode((count) => {
      asked.push(count)
      return Uint8Array.from(script.shift() ?? [])
    })
    expect(code).toBe('BZBZCDFG')
    expect(asked).toEqual([8, 2, 1])
  })

  it('maps the bytes 0 to 239 evenly: twelve to each of the 20 consonants', () => {
    const counts = new Map<string, number>()
    for (let byte = 0; byte < 240; byte += 1) {
      const letter = drawUserCode(() => Uint8Array.from({ length: 8 }, () => byte)).charAt(0)
      counts.set(letter, (counts.get(letter) ?? 0) + 1)
    }
    expect([...counts.keys()].join('')).toBe(LETTERS)
    expect(new Set(counts.values())).toEqual(new Set([12]))
  })

  it.each(['BCDF-GHJK', 'bcdf-ghjk', 'BCDFGHJK', ' bcdf ghjk\n', 'BC-DF–GH—JK', 'b c d f g h j k'])(
    'may be typed as %j',
    (typed) => {
      expect(parseUserCode(typed)).toBe('BCDFGHJK')
    },
  )

  it.each([
    '',
    'BCDF-GHJ',
    'BCDF-GHJKL',
    'ACDF-GHJK',
    'BCDF-GHJ0',
    'BCDF_GHJK',
    'BCDF-GHJ\u212a',
    'BCDF-GH\u017fK',
    'ßCDF-GHJK',
    'BCDF-GHJK\u0000',
  ])('is not %j', (typed) => {
    expect(parseUserCode(typed)).toBeUndefined()
  })

  it('is shown with a dash', () => {
    expect(showUserCode('BCDFGHJK')).toBe('BCDF-GHJK')
  })
})

describe('the two codes of a claim', () => {
  it('are kept as digests only', async () => {
    const codes = await makeClaimCodes([NEW, OLD])
    expect(codes.deviceCode).toMatch(/^lkd-[0-9A-Za-z]{40}$/)
    expect(codes.userCode).toMatch(new RegExp(`^[${LETTERS}]{8}$`))
    expect(codes.deviceCodeHash).toBe(await sha256(codes.deviceCode))
    expect(codes.userCodeHmac).toMatch(/^[\w-]{43}$/)
    expect(codes.userCodeHmac).not.toBe(await sha256(codes.userCode))
  })

  it('are found again after the check secrets were rotated, and not after one was dropped', async () => {
    const { deviceCode, deviceCodeHash, userCode, userCodeHmac } = await makeClaimCodes([OLD])
    expect(await userCodeHmacs(userCode, [NEW, OLD])).toContain(userCodeHmac)
    expect(await userCodeHmacs(userCode, [NEW])).not.toContain(userCodeHmac)
    expect(await hashDeviceCode(deviceCode, [NEW, OLD])).toBe(deviceCodeHash)
    expect(await hashDeviceCode(deviceCode, [NEW])).toBeUndefined()
  })

  it('are no secrets, whatever the prefix', async () => {
    const { deviceCode } = await makeClaimCodes([NEW])
    for (const prefix of ['lk', 'lkd', 'lkr']) {
      expect(parsePresentedSecret(deviceCode, prefix).kind).not.toBe('checked')
    }
    const [hmac = ''] = await userCodeHmacs('BCDFGHJK', [NEW])
    expect(await isCheckGenuine('BCDFGHJK', hmac.slice(0, 8), [NEW])).toBe(false)
  })

  it.each([
    ['nothing', ''],
    ['another start', `lk_${'a'.repeat(40)}`],
    ['a made-up check', `lkd-${'a'.repeat(40)}`],
    ['too long', `lkd-${'a'.repeat(41)}`],
  ])('made up: %s', async (_, presented) => {
    expect(await hashDeviceCode(presented, [NEW, OLD])).toBeUndefined()
  })

  it('are taken with a good check and no other', async () => {
    const unchecked = `lkd-${'a'.repeat(32)}`
    const code = unchecked + (await makeCheck(unchecked, OLD))
    expect(await hashDeviceCode(code, [NEW, OLD])).toBe(await sha256(code))
    expect(await hashDeviceCode(`${code}\n`, [NEW, OLD])).toBeUndefined()
  })
})

describe('RFC 8628 §3.5: what a poll is told', () => {
  const waiting: PolledClaim = {
    expiresAt: 600_000,
    decidedAt: null,
    deniedAt: null,
    redeemedAt: null,
  }

  it.each([
    ['the first', {}, 0, 'authorization_pending'],
    ['the last moment', {}, 599_999, 'authorization_pending'],
    ['the end', {}, 600_000, 'expired_token'],
    ['denied', { decidedAt: 5, deniedAt: 5 }, 10, 'access_denied'],
    ['denied, long ago', { decidedAt: 5, deniedAt: 5 }, 700_000, 'access_denied'],
    ['approved, a minute after the end', { decidedAt: 5 }, 660_000, 'expired_token'],
    ['spent, a minute after the end', { decidedAt: 5, redeemedAt: 6 }, 660_000, 'invalid_grant'],
  ] as const)('%s: refused', (_, change, now, reason) => {
    expect(decidePoll({ ...waiting, ...change }, now)).toEqual({ ok: false, reason })
  })

  it.each([
    ['approved', { decidedAt: 5 }, 10, 'spend'],
    ['approved, at the end', { decidedAt: 5 }, 600_000, 'spend'],
    ['approved, just within the minute after the end', { decidedAt: 5 }, 659_999, 'spend'],
    ['spent', { decidedAt: 5, redeemedAt: 6 }, 10, 'again'],
    ['spent, the last moment', { decidedAt: 5, redeemedAt: 6 }, 659_999, 'again'],
  ] as const)('%s: its secret', (_, change, now, value) => {
    expect(decidePoll({ ...waiting, ...change }, now)).toEqual({ ok: true, value })
  })
})

/** What each of some polls is: in time or early, and whether it may read the database. */
function placesOf(times: readonly number[]): string[] {
  let pace: PollPace | undefined
  return times.map((time) => {
    const { isEarly, mayRead, ...next } = pacePoll(pace, time)
    pace = next
    return `${isEarly ? 'early' : 'in time'}, ${mayRead ? 'reads' : 'no read'}`
  })
}

describe('RFC 8628 §3.5: the pace of polls', () => {
  it('lets the first poll read, and each that comes at the interval', () => {
    const inTime = 'in time, reads'
    expect(placesOf([0, 5000, 10_000, 15_000])).toEqual([inTime, inTime, inTime, inTime])
  })

  it('grows the interval by five seconds for one that is a millisecond early', () => {
    expect(placesOf([0, 4999, 14_998])).toEqual([
      'in time, reads',
      'early, no read',
      'early, reads',
    ])
    expect(placesOf([0, 4999, 14_999]).at(-1)).toBe('in time, reads')
  })

  it('reads once a minute for a device that never waits, and no more', () => {
    const everyTenth = Array.from({ length: 6000 }, (_, index) => index * 100)
    const readings = placesOf(everyTenth).filter((place) => place.endsWith(', reads'))
    expect(readings).toHaveLength(10)
  })

  it('starts again where the clock fell back by more than the interval', () => {
    expect(placesOf([3_600_000, 0])).toEqual(['in time, reads', 'in time, reads'])
    expect(placesOf([3_600_000, 3_599_999]).at(-1)).toBe('early, no read')
  })
})

describe('narrowing scopes', () => {
  it.each([
    [['a:b'], ['a:b'], true],
    [['a:b', 'c'], ['c'], true],
    [['a:b'], [], true],
    [['a:*'], ['a:*'], true],
    [['a:*'], ['a:b:*'], true],
    [['a:*'], ['a:b:c'], true],
    [['*'], ['a:*', 'b'], true],
    [['*'], ['*'], true],
    [['a:*'], ['a'], false],
    [['a:*'], ['ab:c'], false],
    [['a:*'], ['*'], false],
    [['a:b'], ['a:*'], false],
    [['a:b'], ['a:b:c'], false],
    [['a:b'], ['a:b', 'c'], false],
    [['*'], ['keys:verify'], false],
    [['keys:verify-all'], ['keys:verify'], false],
    [['keys:verify'], ['keys:verify'], true],
  ])('of %j to %j: %s', (wide, narrow, isNarrower) => {
    expect(narrowsScopes(wide, narrow, [])).toBe(isNarrower)
  })
})

describe('a name with a suffix', () => {
  it.each([
    ['sensor', 'sensor-x1y2'],
    ['x'.repeat(80), `${'x'.repeat(75)}-x1y2`],
    ['🔥'.repeat(80), `${'🔥'.repeat(75)}-x1y2`],
  ])('%s', (name, whole) => {
    expect(withSuffix(name, '-x1y2')).toBe(whole)
  })
})

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { limitedNetwork, originOf } from '../../src/domain/network.ts'
import { jsonObject } from '../../src/schemas/names.ts'
import { cursor, cursorAfter } from '../../src/schemas/page.ts'

const written = (groups: number[]) => groups.map((value) => value.toString(16)).join(':')

describe('limitedNetwork', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002:0003:0004:0005:0006', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:0000:0::1', '2001:db8:0:0::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8:0:2::6', '2001:db8:0:2::/64'],
    ['2001::2:3:4:5:6:7', '2001:0:2:3::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
    ['::2:3:4:5:6:7:8', '0:2:3:4::/64'],
    ['::', '0:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8:1:20::', '2001:db8:1:20::/64'],
    ['2001:db8:100:200::', '2001:db8:100:200::/64'],
  ])('%s is counted as %s', (ip, network) => {
    expect(limitedNetwork(ip)).toBe(network)
  })

  it('counts every address of a /64 as one, and each /64 apart', () => {
    const group = fc.integer({ min: 0, max: 0xff_ff })
    const half = fc.tuple(group, group, group, group)
    fc.assert(
      fc.property(half, half, half, half, (network, other, host, neighbour) => {
        const counted = limitedNetwork(written([...network, ...host]))
        expect(limitedNetwork(written([...network, ...neighbour]).toUpperCase())).toBe(counted)
        fc.pre(written(network) !== written(other))
        expect(limitedNetwork(written([...other, ...host]))).not.toBe(counted)
      }),
    )
  })
})

describe('originOf', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1', null],
    ['::ffff:192.0.2.1', '192.0.2.1', null],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64', '2001:db8:1::/48'],
    ['2001:0DB8:0001:fffe::', '2001:db8:1:fffe::/64', '2001:db8:1::/48'],
    ['::1', '0:0:0:0::/64', '0:0:0::/48'],
    [null, 'none', null],
  ])('%s is counted as the network %s of the site %s', (ip, network, site) => {
    expect(originOf(ip)).toEqual({ network, site })
  })
})

/** An object within so many arrays. */
function nested(levels: number): unknown {
  let value: unknown = {}
  for (let level = 1; level < levels; level += 1) value = [value]
  return { a: value }
}

describe('jsonObject', () => {
  // {"a":""} is eight bytes.
  it.each([
    ['nothing', {}],
    ['4096 bytes', { a: 'x'.repeat(4088) }],
    ['4096 bytes of two-byte characters', { a: 'é'.repeat(2044) }],
    ['4096 bytes of emoji', { a: '😀'.repeat(1022) }],
    ['4096 bytes, the name among them', { [`a${'é'.repeat(2044)}`]: '' }],
    ['4096 bytes, escapes among them', { a: '\n'.repeat(2044) }],
    ['a few levels', { a: { b: [{ c: null }] } }],
  ])('takes %s, as it is', (_, value) => {
    expect(jsonObject.parse(value)).toBe(value)
  })

  it.each([
    ['4097 bytes', { a: 'x'.repeat(4089) }],
    ['4097 bytes of fewer characters', { a: `${'é'.repeat(2044)}x` }],
    ['4097 bytes, the name among them', { [`ab${'é'.repeat(2044)}`]: '' }],
    ['an array', []],
    ['null', null],
    ['undefined', undefined],
    ['a string', '{}'],
    ['a number', 1],
    ['10,000 levels', nested(10_000)],
    ['a million levels', nested(1_000_000)],
  ])('refuses %s', (_, value) => {
    expect(jsonObject.safeParse(value).success).toBe(false)
  })
})

const write = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

describe('cursors', () => {
  it('come back as what they were made of', () => {
    const id = fc.stringMatching(/^[0-9a-z_]{0,64}$/)
    fc.assert(
      fc.property(fc.maxSafeNat(), id, (at, text) => {
        const position = { at, id: text }
        const made = cursorAfter(position)
        expect(made).toMatch(/^[A-Za-z0-9_-]+$/)
        expect(cursor.parse(made)).toEqual(position)
      }),
    )
    expect(cursor.parse(write([0, 'x'.repeat(64)]))).toEqual({ at: 0, id: 'x'.repeat(64) })
  })

  it.each([
    ['nothing', ''],
    ['no base64', '%%%'],
    ['no JSON', Buffer.from('[1,').toString('base64url')],
    ['null', write(null)],
    ['an object', write({ 0: 1, 1: 'dev_1' })],
    ['a time alone', write([1])],
    ['something more', write([1, 'dev_1', 2])],
    ['a time before 1970', write([-1, 'dev_1'])],
    ['half a millisecond', write([1.5, 'dev_1'])],
    ['a time as text', write(['1', 'dev_1'])],
    ['a time past what is exact', write([2 ** 53, 'dev_1'])],
    ['an endless time', Buffer.from('[1e999,"dev_1"]').toString('base64url')],
    ['a number for an id', write([1, 1])],
    ['an id of 65 characters', write([1, 'x'.repeat(65)])],
    ['257 characters', cursorAfter({ at: 1, id: 'dev_1' }).padEnd(257, '=')],
    ['deep nesting', Buffer.from('['.repeat(192)).toString('base64url')],
  ])('refuse %s', (_, text) => {
    expect(cursor.safeParse(text).success).toBe(false)
  })

  it('never throw', () => {
    const hostile = fc.oneof(fc.string({ unit: 'binary' }), fc.json().map(write), fc.base64String())
    fc.assert(
      fc.property(hostile, (text) => {
        expect(() => cursor.safeParse(text)).not.toThrow()
      }),
      { numRuns: 500 },
    )
  })
})

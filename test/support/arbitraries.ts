import * as fc from 'fast-check'

/** What a request carries. */
export type Sent = { readonly raw: string; readonly headers: Readonly<Record<string, string>> }

/** Every field that some route reads, and names that mean something to JavaScript. */
const FIELDS = [
  'username',
  'password',
  'current_password',
  'refresh_token',
  'name',
  'metadata',
  'key',
  'enabled',
  'report',
  'device_name',
  'api_key',
  'scopes',
  'expires_at',
  'expires_in',
  'rate_limit',
  'quota',
  'overlap_seconds',
  'decision',
  'device_id',
  'client_id',
  'scope',
  '__proto__',
  'constructor',
  'toString',
  '',
]

/** Any code unit at all: NUL, lone surrogates, right-to-left overrides. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) }),
  fc.constantFrom('\u0000', '\ud800', '\u202eab', 'x'.repeat(5000), "' or 1=1 --", '%', '\\'),
)

const value = fc.oneof(
  fc.jsonValue({ maxDepth: 4 }),
  anyText,
  fc.double(),
  fc.maxSafeInteger(),
  fc.boolean(),
  fc.string({ unit: 'grapheme', minLength: 3, maxLength: 30 }),
  fc.dictionary(anyText, fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 }),
)

const deep = fc
  .integer({ min: 10, max: 20_000 })
  .map((depth) => `{"metadata":${'{"a":'.repeat(depth / 4)}1${'}'.repeat(depth / 4)}}`)

/** A good body with some fields changed, left out or added. */
function nearly(good: Readonly<Record<string, unknown>>): fc.Arbitrary<string> {
  const own = Object.keys(good)
  const field = fc.oneof(
    { weight: own.length === 0 ? 0 : 4, arbitrary: fc.constantFrom(...own, 'name') },
    { weight: 1, arbitrary: fc.constantFrom(...FIELDS) },
  )
  return fc
    .record({
      left: fc.oneof({ weight: 3, arbitrary: fc.constant(own) }, fc.subarray(own)),
      changed: fc.dictionary(field, value, { maxKeys: 2, noNullPrototype: false }),
    })
    .map(({ left, changed }) => {
      const kept = Object.entries(good).filter(([name]) => left.includes(name))
      const fields = [...kept, ...Object.entries(changed)]
      const members = fields.map(([name, field]) => `${JSON.stringify(name)}:${textOf(field)}`)
      return `{${members.join(',')}}`
    })
}

/** The good body with a few characters changed in place. */
function scratched(good: Readonly<Record<string, unknown>>): fc.Arbitrary<string> {
  const text = JSON.stringify(good)
  return fc
    .tuple(fc.nat(text.length), fc.nat(4), anyText)
    .map(([at, length, put]) => text.slice(0, at) + put + text.slice(at + length))
}

function textOf(field: unknown): string {
  return JSON.stringify(field) ?? 'null'
}

const mediaType = fc.oneof(
  { weight: 6, arbitrary: fc.constant('application/json') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '',
      'application/json; charset=utf-8',
      'application/json;charset=utf-16',
      'application/problem+json',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'text/plain;charset=UTF-8',
      'application/jsonp',
      'json',
    ),
  },
)

/** Bodies of every kind for a route that takes the good one. */
export function bodiesFor(good: Readonly<Record<string, unknown>>): fc.Arbitrary<Sent> {
  const raw = fc.oneof(
    { weight: 6, arbitrary: nearly(good) },
    { weight: 2, arbitrary: scratched(good) },
    { weight: 2, arbitrary: fc.json() },
    { weight: 1, arbitrary: anyText },
    { weight: 1, arbitrary: deep },
    { weight: 1, arbitrary: fc.constantFrom('', '{}', '[]', 'null', '0', '""', '{"a":1,"a":2}') },
  )
  return fc
    .record({ raw, type: mediaType })
    .map(({ raw, type }) => ({ raw, headers: { 'Content-Type': type } }))
}

/** Forms of every kind for a route that takes the good fields. */
export function formsFor(good: Readonly<Record<string, unknown>>): fc.Arbitrary<Sent> {
  const own = Object.entries(good)
  const field = fc.tuple(
    fc.oneof(fc.constantFrom(...Object.keys(good)), fc.constantFrom(...FIELDS)),
    anyText,
  )
  const form = fc
    .tuple(fc.subarray(own, { minLength: own.length - 1 }), fc.array(field, { maxLength: 2 }))
    .map(([kept, changed]) => {
      const changes = new Map(changed)
      const fields = [...kept.filter(([name]) => !changes.has(name)), ...changed]
      return fields.map(([name, text]) => `${encode(name)}=${encode(String(text))}`).join('&')
    })
  const raw = fc.oneof(
    { weight: 6, arbitrary: form },
    { weight: 1, arbitrary: anyText },
    { weight: 1, arbitrary: fc.constantFrom('', '&', '=', '&&=&', '%', 'a=%ff', '+=+', '{}') },
  )
  const type = fc.oneof(
    { weight: 6, arbitrary: fc.constant('application/x-www-form-urlencoded') },
    { weight: 1, arbitrary: mediaType },
  )
  return fc
    .record({ raw, type })
    .map(({ raw, type }) => ({ raw, headers: { 'Content-Type': type } }))
}

/** Query strings: the parameters that routes read, with values good and bad, and others. */
export const queries: fc.Arbitrary<string> = fc
  .array(
    fc.tuple(
      fc.constantFrom(
        'limit',
        'cursor',
        'q',
        'status',
        'from',
        'to',
        'interval',
        'api_key',
        'client_id',
        'user_code',
        '',
        'x',
      ),
      fc.oneof(
        anyText,
        fc.constantFrom('1', '100', '101', '-1', '1e2', 'enabled', 'disabled', 'hour'),
        fc.json().map((text) => Buffer.from(text).toString('base64url')),
        fc
          .tuple(fc.oneof(fc.maxSafeInteger(), fc.double()), anyText)
          .map((position) => Buffer.from(JSON.stringify(position)).toString('base64url')),
      ),
    ),
    { maxLength: 4 },
  )
  .map((pairs) => pairs.map(([name, text]) => `${encode(name)}=${encode(text)}`).join('&'))

/** What may stand in a path where an id does. */
export const pathSegments: fc.Arbitrary<string> = anyText
  .map((text) => encode(text.slice(0, 200)))
  .filter((text) => text !== '' && text !== '.' && text !== '..')

/** Percent-encoded, lone surrogates too (as what they are not: half of them stays broken UTF-8). */
function encode(text: string): string {
  return [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
}

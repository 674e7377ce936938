import type { Fields } from './raw-http.ts'

/** What a proxy tells the API of a device. */
export const IDENTITY = [
  'X-Device-Id',
  'X-Device-Name',
  'X-Owner-Id',
  'X-Key-Id',
  'X-Device-Scopes',
]

export const FORGED = 'forged'

/** What header fields say of identity, by the names under which an application may know them. */
export function identityIn(fields: Fields): Record<string, string[]> {
  const wanted = new Set(IDENTITY.map(normal))
  const found: Record<string, string[]> = {}
  for (const [name, value] of fields) {
    const known = normal(name)
    if (wanted.has(known)) found[known] = [...(found[known] ?? []), value]
  }
  return found
}

/** CGI knows a field by its letters and digits, with `_` for all else (RFC 3875 §4.1.18). */
function normal(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z\d]/g, '-')
}

/** What a name may be made of beside letters, digits and `-` (RFC 9110 §5.6.2). */
const MARKS = Array.from("!#$%&'*+.^_`|~")

/** Every way to write the five names: cases, marks for `-`, and both, sent once and twice. */
export function forgeries(): Fields[] {
  const spellings = [
    forged((name) => name),
    forged((name) => name.toLowerCase()),
    forged((name) => name.toUpperCase()),
    ...MARKS.flatMap((mark) => [
      forged((name) => name.replaceAll('-', () => mark)),
      forged((name) => name.replaceAll('-', () => mark).toLowerCase()),
      forged((name) => name.replaceAll('-', () => mark).toUpperCase()),
      forged((name) => name.replace('-', () => mark)),
      forged((name) => name.replace(/-(?=[^-]*$)/, () => mark)),
      forged((name) => name.replace(/-(?=[^-]*$)/, () => mark).toLowerCase()),
    ]),
  ]
  return [...spellings, ...spellings.map((fields) => [...fields, ...fields]), spellings.flat()]
}

/** The five names, spelt so. */
export function forged(spell: (name: string) => string): Fields {
  return IDENTITY.map((name) => [spell(name), FORGED] as const)
}

import toml from '../../wrangler.toml?raw'
import type { AnonymousDoor, NamedRoute } from './route-table.ts'

/** How many units a limiter of wrangler.toml allows in a minute. */
function limitOf(limiter: string): number {
  const block = new RegExp(
    `name = "${limiter}"\\n.*\\nsimple = \\{ limit = (\\d+), period = 60 \\}`,
  )
  const limit = block.exec(toml)?.[1]
  if (limit === undefined) throw new Error(`wrangler.toml has no limiter ${limiter} of 60 seconds`)
  return Number(limit)
}

/** How many requests a minute a door lets in from one network, and from one IPv6 site. */
export function allowedBy({ charges }: AnonymousDoor): { network: number; site: number } {
  const least = (key: string) =>
    Math.min(...charges.filter((charge) => charge[1] === key).map(([name]) => limitOf(name)))
  return { network: least('network'), site: least('site') }
}

/** The table of docs/security.md: what each route costs that does anything for anybody. */
export function costLines(routes: readonly NamedRoute[]): string[] {
  const doors = new Map<AnonymousDoor, string[]>()
  for (const { name, door } of routes) {
    if (door !== undefined) doors.set(door, [...(doors.get(door) ?? []), `\`${name}\``])
  }
  const rows = [...doors].map(([door, names]) => {
    const { network, site } = allowedBy(door)
    const often = door.charges.length === 0 ? 'one in 5 s, an isolate' : `${network}, ${site}`
    const { statements, rowsWritten, objectCalls } = door.cost
    const each = `${statements} | ${rowsWritten} | ${objectCalls}`
    return `| ${names.join(' · ')} | ${often} | ${each} |`
  })
  return [
    '| | requests a minute of a network, of an IPv6 site | D1 statements each | rows written each | object calls each |',
    '|---|---|---|---|---|',
    ...rows,
    '| every other route | any | 0 | 0 | 0 |',
  ]
}

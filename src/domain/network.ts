import { expandIPv6 } from 'hono/utils/ipaddr'

/** Where a request comes from, as limits count it. */
export type Origin = {
  readonly network: string
  /** Null for IPv4, which has nothing coarser. */
  readonly site: string | null
}

/** @param ip null where no edge stands before the Worker: all such callers share one network */
export function originOf(ip: string | null): Origin {
  const from = ip ?? 'none'
  return { network: limitedNetwork(from), site: siteOf(from) }
}

/**
 * Whom a per-IP limit counts: an IPv4 address, or the /64 of an IPv6 one, since one subscriber
 * holds a whole /64 (RFC 6177) and could otherwise call from a new address each time.
 */
export function limitedNetwork(ip: string): string {
  return ipv4Of(ip) ?? prefixOf(ip, 4)
}

/** The /48 of an IPv6 address: a customer may hold one, which is 65,536 networks. Else null. */
function siteOf(ip: string): string | null {
  return ipv4Of(ip) === undefined ? prefixOf(ip, 3) : null
}

/** What is no IPv6 address, as it is; of an IPv4-mapped one, the IPv4 address. */
function ipv4Of(ip: string): string | undefined {
  return ip.includes(':') ? /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1] : ip
}

function prefixOf(ip: string, groups: number): string {
  const shown = expandIPv6(ip.toLowerCase()).split(':').slice(0, groups)
  const prefix = shown.map((group) => group.replace(/^0+(?=.)/, '')).join(':')
  return `${prefix}::/${groups * 16}`
}

import { expandIPv6 } from 'hono/utils/ipaddr'

/**
 * Whom a per-IP limit counts: an IPv4 address, or the /64 of an IPv6 one, since one subscriber
 * holds a whole /64 (RFC 6177) and could otherwise call from a new address each time.
 */
export function limitedNetwork(ip: string): string {
  if (!ip.includes(':')) return ip
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1]
  if (mapped !== undefined) return mapped
  const groups = expandIPv6(ip.toLowerCase()).split(':').slice(0, 4)
  return `${groups.map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`
}

import type { AppContext } from './env.ts'

/** How much of a User-Agent a session remembers. */
const USER_AGENT_MAX_CHARACTERS = 256

/**
 * The caller's address as Cloudflare saw it; X-Forwarded-For is the caller's own word and is never
 * read. Null only where no edge stands before the Worker.
 */
export function clientIp(c: AppContext): string | null {
  return c.req.header('cf-connecting-ip') ?? null
}

export function userAgentOf(c: AppContext): string | null {
  return c.req.header('user-agent')?.slice(0, USER_AGENT_MAX_CHARACTERS) ?? null
}

/** Where Cloudflare saw the request come from: a country's two letters, or T1 for Tor. */
export function countryOf(c: AppContext): string | null {
  const country: unknown = c.req.raw.cf?.country
  return typeof country === 'string' && /^(?:[A-Z]{2}|T1)$/.test(country) ? country : null
}

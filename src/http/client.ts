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

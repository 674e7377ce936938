import type { AppContext } from './env.ts'

/**
 * The caller's address as Cloudflare saw it; X-Forwarded-For is the caller's own word and is never
 * read. Undefined only where no edge stands before the Worker.
 */
export function clientIp(c: AppContext): string | undefined {
  return c.req.header('cf-connecting-ip')
}

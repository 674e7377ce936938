import type { Context } from 'hono'
import { err, ok, type Result } from '../domain/result.ts'

/** The parameters of a form, each once. */
export type Form = ReadonlyMap<string, string>

const FORM = /^application\/x-www-form-urlencoded\s*(;|$)/i

/**
 * Reads the parameters of a request body. RFC 6749 §3.2: none may be repeated, and one without a
 * value counts as left out; §2.3.1: credentials never come in the query.
 */
export async function readForm(c: Pick<Context, 'req'>): Promise<Result<Form, string>> {
  const mediaType = c.req.header('content-type') ?? ''
  if (!FORM.test(mediaType)) return err('Send application/x-www-form-urlencoded.')
  if (new URL(c.req.url).search !== '')
    return err('Send parameters in the body, never in the query.')
  const form = new Map<string, string>()
  // As bytes: workerd warns where a form is read as text.
  const text = new TextDecoder().decode(await c.req.arrayBuffer())
  for (const [name, value] of new URLSearchParams(text)) {
    if (form.has(name)) return err('A parameter was sent more than once.')
    form.set(name, value)
  }
  for (const [name, value] of form) {
    if (value === '') form.delete(name)
  }
  return ok(form)
}

import type { Context } from 'hono'
import { err, ok, type Result } from '../domain/result.ts'

/** The parameters of a form, each once, but for those that may be repeated. */
export class Form {
  readonly #parameters: URLSearchParams

  constructor(parameters: URLSearchParams) {
    this.#parameters = parameters
  }

  /** A parameter without a value counts as left out (RFC 6749 §3.2). */
  get(name: string): string | undefined {
    return this.getAll(name)[0]
  }

  has(name: string): boolean {
    return this.get(name) !== undefined
  }

  getAll(name: string): readonly string[] {
    return this.#parameters.getAll(name).filter((value) => value !== '')
  }

  entries(): readonly (readonly [string, string])[] {
    return [...this.#parameters].filter(([, value]) => value !== '')
  }
}

/** A token may be for several resources (RFC 8707 §2). */
const REPEATABLE: ReadonlySet<string> = new Set(['resource'])

const FORM = /^application\/x-www-form-urlencoded\s*(;|$)/i

/**
 * Reads the parameters of a request body, of which none may be repeated (RFC 6749 §3.2) but
 * `resource`. Credentials never come in the query (§2.3.1).
 * @param inUrl what the query may say, each once, for clients that can be given no further field
 */
export async function readForm(
  c: Pick<Context, 'req'>,
  inUrl: readonly string[] = [],
): Promise<Result<Form, string>> {
  const mediaType = c.req.header('content-type') ?? ''
  if (!FORM.test(mediaType)) return err('Send application/x-www-form-urlencoded.')
  const query = [...new URL(c.req.url).searchParams.keys()]
  if (!query.every((name) => inUrl.includes(name))) {
    return err('Send parameters in the body, never in the query.')
  }
  if (new Set(query).size < query.length) return err('A parameter was sent more than once.')
  // As bytes: workerd warns where a form is read as text.
  const text = new TextDecoder().decode(await c.req.arrayBuffer())
  const parameters = new URLSearchParams(text)
  const names = [...parameters.keys()].filter((name) => !REPEATABLE.has(name))
  if (new Set(names).size < names.length) return err('A parameter was sent more than once.')
  return ok(new Form(parameters))
}

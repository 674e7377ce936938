import type { Context } from 'hono'
import { validator } from 'hono/validator'
import type * as z from 'zod'
import type { AppEnv } from './env.ts'
import { problem, type FieldError } from './problem.ts'

/** What hono's JSON validator parses; anything else it takes for an empty object. */
const JSON_MEDIA_TYPE = /^application\/([a-z-.]+\+)?json(;\s*[a-zA-Z0-9-]+=([^;]+))*$/

/** Takes a JSON body that fits the schema: else 415, or 400 naming each fault. */
export function validBody<Schema extends z.ZodType>(schema: Schema) {
  return validator('json', (body: z.input<Schema>, c: Context<AppEnv>) => {
    if (!isJson(c.req.raw)) return problem(c, 'unsupported-media-type')
    const parsed = schema.safeParse(body)
    return parsed.success ? parsed.data : problem(c, 'invalid-request', faults(parsed.error))
  })
}

/** Takes query parameters that fit the schema: else 400 naming each fault. */
export function validQuery<Schema extends z.ZodType>(schema: Schema) {
  return validator('query', (query: unknown, c: Context<AppEnv>) => {
    const parsed = schema.safeParse(query)
    if (parsed.success) return parsed.data
    const isCursor = parsed.error.issues.some((issue) => issue.path[0] === 'cursor')
    return problem(c, isCursor ? 'invalid-cursor' : 'invalid-request', faults(parsed.error))
  })
}

/** A request without a body has no media type to be wrong. */
export function isJson(request: Request): boolean {
  return request.body === null || JSON_MEDIA_TYPE.test(request.headers.get('content-type') ?? '')
}

function faults(error: z.core.$ZodError): { errors: FieldError[] } {
  return { errors: error.issues.flatMap(fieldErrors) }
}

function fieldErrors(issue: z.core.$ZodIssue): FieldError[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      pointer: pointer([...issue.path, key]),
      detail: 'unknown field',
    }))
  }
  return [{ pointer: pointer(issue.path), detail: issue.message }]
}

/** A JSON pointer (RFC 6901 §3). */
function pointer(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

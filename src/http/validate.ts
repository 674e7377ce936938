import type { Context, HonoRequest } from 'hono'
import { validator } from 'hono/validator'
import type * as z from 'zod'
import type { AppEnv } from './env.ts'
import { problem } from './problem.ts'
import type { FieldError } from './problems.ts'

/** Media types are case-insensitive (RFC 9110 §8.3.1). hono's JSON validator has the same rule. */
const JSON_MEDIA_TYPE = /^application\/([\w.-]+\+)?json$/i

/** How many faults an answer names: it must not grow with what an anonymous caller sends. */
const FAULTS_MAX = 20

/** Takes a JSON body that fits the schema: else 415, or 400 naming each fault. */
export function validBody<Schema extends z.ZodType>(schema: Schema) {
  return validator('json', async (body: z.input<Schema>, c: Context<AppEnv>) => {
    if (!isJson(c.req.raw) && (await hasBody(c.req))) return problem(c, 'unsupported_media_type')
    const parsed = schema.safeParse(body)
    return parsed.success ? parsed.data : problem(c, 'invalid_request', faults(parsed.error))
  })
}

/** Takes query parameters that fit the schema: else 400 naming each fault. */
export function validQuery<Schema extends z.ZodType>(schema: Schema) {
  return validator('query', (query: unknown, c: Context<AppEnv>) => {
    const parsed = schema.safeParse(query)
    if (parsed.success) return parsed.data
    const isCursor = parsed.error.issues.some((issue) => issue.path[0] === 'cursor')
    return problem(c, isCursor ? 'invalid_cursor' : 'invalid_request', faults(parsed.error))
  })
}

export function isJson(request: Request): boolean {
  const [mediaType = ''] = (request.headers.get('content-type') ?? '').split(';')
  return JSON_MEDIA_TYPE.test(mediaType.trim())
}

/** A request without a body has no media type to be wrong. An empty one may still be a stream. */
async function hasBody(request: HonoRequest): Promise<boolean> {
  return request.raw.body !== null && (await request.arrayBuffer()).byteLength > 0
}

function faults(error: z.core.$ZodError): { errors: FieldError[] } {
  return { errors: error.issues.flatMap(fieldErrors).slice(0, FAULTS_MAX) }
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

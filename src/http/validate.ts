import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { validator } from 'hono/validator'
import type * as z from 'zod'
import { err, ok, type Result } from '../domain/result.ts'
import type { AppEnv } from './env.ts'
import { problem } from './problem.ts'
import type { FieldError } from './problem-types.ts'

/** Media types are case-insensitive (RFC 9110 §8.3.1). */
const JSON_MEDIA_TYPE = /^application\/([\w.-]+\+)?json$/i

/** How many faults an answer names: it must not grow with what an anonymous caller sends. */
const FAULTS_MAX = 20

/**
 * Takes a JSON body that fits the schema: else 415, or 400 naming each fault. No body is an empty
 * object, with or without a media type: it will do where every field is optional.
 */
export function validBody<Schema extends z.ZodType<object>>(schema: Schema) {
  return createMiddleware<AppEnv, string, BodyInput<Schema>>(async function validBody(c, next) {
    const text = await c.req.text()
    if (text !== '' && !isJson(c.req.raw)) return problem(c, 'unsupported_media_type')
    const json = parseJson(text === '' ? '{}' : text)
    if (!json.ok) return problem(c, 'invalid_json')
    const parsed = schema.safeParse(json.value)
    if (!parsed.success) return problem(c, 'invalid_request', faults(parsed.error))
    const errors = lostNumbers(parsed.data).slice(0, FAULTS_MAX)
    if (errors.length > 0) return problem(c, 'invalid_request', { errors })
    c.req.addValidatedData('json', parsed.data)
    return await next()
  })
}

/** What hono knows of a validated body: `c.req.valid('json')`, and the typed client's `json`. */
type BodyInput<Schema extends z.ZodType> = {
  in: { json: z.input<Schema> }
  out: { json: z.output<Schema> }
}

function parseJson(text: string): Result<unknown, 'invalid'> {
  try {
    return ok(JSON.parse(text))
  } catch {
    return err('invalid')
  }
}

/**
 * The numbers that JSON.parse did not keep: it rounds whole numbers past 2^53 - 1, and makes
 * Infinity of those past 1.8e308.
 * @param value a parsed body: its schema bounds how deep the walk goes
 */
function lostNumbers(value: unknown, path: readonly string[] = []): FieldError[] {
  if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER) {
    const detail = `must be a number from -${Number.MAX_SAFE_INTEGER} to ${Number.MAX_SAFE_INTEGER}`
    return [{ pointer: pointer(path), detail }]
  }
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) => lostNumbers(inner, [...path, name]))
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

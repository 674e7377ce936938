import * as z from 'zod'
import { normalizeName } from '../domain/names.ts'

/** What a metadata or report object may hold, as UTF-8 JSON. */
const JSON_OBJECT_MAX_BYTES = 4096

/** SQLite's JSON functions stop at 1,000, and nobody means that many. */
const JSON_DEPTH_MAX = 32

type JsonObject = Record<string, unknown>

export const name = z.string().transform((text, context) => {
  const normal = normalizeName(text)
  if (normal !== undefined) return normal
  context.addIssue({
    code: 'custom',
    message:
      'must be 1 to 80 characters, one of them visible, and no control or direction-override ' +
      'character among them',
  })
  return z.NEVER
})

/** An object of at most 4 KiB of JSON, kept as it is. */
export const jsonObject = z.custom<JsonObject>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    isWithinDepth(value, JSON_DEPTH_MAX) &&
    new TextEncoder().encode(JSON.stringify(value)).length <= JSON_OBJECT_MAX_BYTES,
  `must be an object of at most 4 KiB, nested at most ${JSON_DEPTH_MAX} deep`,
)

function isWithinDepth(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return depth > 0 && Object.values(value).every((inner) => isWithinDepth(inner, depth - 1))
}

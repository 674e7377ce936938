import * as z from 'zod'

const PAGE_LIMIT_MAX = 100
const PAGE_LIMIT_DEFAULT = 20
const CURSOR_MAX_CHARACTERS = 256
/** A name of 80 characters can fold to several times as many. */
const NAME_CURSOR_MAX_CHARACTERS = 4096

const id = z.string().max(64)
const timePosition = z
  .tuple([z.int().nonnegative(), id])
  .transform(([at, id]): TimePosition => ({ at, id }))
const namePosition = z
  .tuple([z.string(), id])
  .transform(([name, id]): NamePosition => ({ name, id }))

/** Where a page begins: after this time and id. */
type TimePosition = { readonly at: number; readonly id: string }

/** Where a page in the order of names begins: after this folded name and id. */
type NamePosition = { readonly name: string; readonly id: string }

export const cursor = cursorOf(timePosition, CURSOR_MAX_CHARACTERS)

/** A cursor of a list that can be in either order. */
export const eitherCursor = cursorOf(
  z.union([timePosition, namePosition]),
  NAME_CURSOR_MAX_CHARACTERS,
)

function cursorOf<Position>(position: z.ZodType<Position>, maxCharacters: number) {
  return z
    .string()
    .max(maxCharacters)
    .transform((text, context): Position => {
      const parsed = position.safeParse(parseCursorText(text))
      if (parsed.success) return parsed.data
      context.addIssue({ code: 'custom', message: 'is not a cursor' })
      return z.NEVER
    })
}

function parseCursorText(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString())
  } catch {
    return undefined
  }
}

export function cursorAfter(last: TimePosition | NamePosition): string {
  const place = 'at' in last ? last.at : last.name
  return Buffer.from(JSON.stringify([place, last.id])).toString('base64url')
}

export const pageQuery = z.strictObject({
  limit: z
    .string()
    .transform(Number)
    .refine(
      (limit) => Number.isInteger(limit) && limit >= 1 && limit <= PAGE_LIMIT_MAX,
      `must be a whole number from 1 to ${PAGE_LIMIT_MAX}`,
    )
    .default(PAGE_LIMIT_DEFAULT),
  cursor: cursor.optional(),
})

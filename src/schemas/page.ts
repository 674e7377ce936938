import * as z from 'zod'

const PAGE_LIMIT_MAX = 100
const PAGE_LIMIT_DEFAULT = 20
const position = z.tuple([z.int().nonnegative(), z.string().max(64)])

/** Where a page begins: after this time and id. */
type PagePosition = { readonly at: number; readonly id: string }

export const cursor = z
  .string()
  .max(256)
  .transform((text, context): PagePosition => {
    const parsed = position.safeParse(parseCursorText(text))
    if (!parsed.success) {
      context.addIssue({ code: 'custom', message: 'is not a cursor' })
      return z.NEVER
    }
    const [at, id] = parsed.data
    return { at, id }
  })

function parseCursorText(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString())
  } catch {
    return undefined
  }
}

export function cursorAfter(last: PagePosition): string {
  return Buffer.from(JSON.stringify([last.at, last.id])).toString('base64url')
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

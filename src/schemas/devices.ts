import * as z from 'zod'
import { NAME_MAX_CHARACTERS } from '../domain/names.ts'
import { keyPolicy } from './keys.ts'
import { jsonObject, name } from './names.ts'
import { eitherCursor, pageQuery } from './page.ts'

export const deviceCreation = z.strictObject({
  name,
  metadata: jsonObject.default({}),
  key: keyPolicy.prefault({}),
})

export const deviceChange = z.strictObject({
  name: name.optional(),
  metadata: jsonObject.optional(),
  enabled: z.boolean().optional(),
})

const search = z.string().min(1).max(NAME_MAX_CHARACTERS)

/** With `name_prefix` the devices come in the order of their names, and so does the cursor. */
export const deviceQuery = pageQuery
  .extend({
    cursor: eitherCursor.optional(),
    q: search.optional(),
    name_prefix: search.optional(),
    status: z.enum(['enabled', 'disabled']).optional(),
  })
  .transform(({ cursor, name_prefix: prefix, ...query }, context) => {
    if (prefix === undefined && (cursor === undefined || 'at' in cursor)) {
      return { ...query, order: { by: 'age', after: cursor } as const }
    }
    if (prefix !== undefined && (cursor === undefined || 'name' in cursor)) {
      return { ...query, order: { by: 'name', prefix, after: cursor } as const }
    }
    const message = 'is a cursor of pages in another order'
    context.addIssue({ code: 'custom', path: ['cursor'], message })
    return z.NEVER
  })

export const checkIn = z.strictObject({ report: jsonObject.optional() })

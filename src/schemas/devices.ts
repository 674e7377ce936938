import * as z from 'zod'
import { NAME_MAX_CHARACTERS } from '../domain/names.ts'
import { keyPolicy } from './keys.ts'
import { jsonObject, name } from './names.ts'
import { pageQuery } from './page.ts'

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

export const deviceQuery = pageQuery.extend({
  q: z.string().min(1).max(NAME_MAX_CHARACTERS).optional(),
  status: z.enum(['enabled', 'disabled']).optional(),
})

export const checkIn = z.strictObject({ report: jsonObject.optional() })

import * as z from 'zod'
import { NAME_MAX_CHARACTERS } from '../domain/names.ts'
import { jsonObject, name, pageQuery } from './page.ts'
import { keyPolicy } from './keys.ts'

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

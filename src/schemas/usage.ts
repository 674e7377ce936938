import * as z from 'zod'
import { instant } from './instant.ts'

/** The route says how far a query reaches that names no end or no beginning. */
export const usageQuery = z.strictObject({
  from: instant.optional(),
  to: instant.optional(),
  interval: z.enum(['hour', 'day']).default('hour'),
})

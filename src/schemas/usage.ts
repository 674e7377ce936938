import * as z from 'zod'
import { DAY_MS } from '../domain/time.ts'
import { instant } from './instant.ts'

/** How far back a query looks where it does not say. */
const DEFAULT_RANGE_MS = { hour: DAY_MS, day: 30 * DAY_MS } as const

export const usageQuery = z
  .strictObject({
    from: instant.optional(),
    to: instant.optional(),
    interval: z.enum(['hour', 'day']).default('hour'),
  })
  .transform(({ interval, to = Date.now() + 1, from = to - DEFAULT_RANGE_MS[interval] }) => ({
    interval,
    from,
    to,
  }))
  .refine(({ from, to }) => from < to, { path: ['from'], message: 'must be before to' })

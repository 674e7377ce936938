import * as z from 'zod'
import { DAY_MS } from '../domain/time.ts'

/** How far back a query looks where it does not say. */
const DEFAULT_RANGE_MS = { hour: DAY_MS, day: 30 * DAY_MS } as const

const time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text))

export const usageQuery = z
  .strictObject({
    from: time.optional(),
    to: time.optional(),
    interval: z.enum(['hour', 'day']).default('hour'),
  })
  .transform(({ interval, to = Date.now() + 1, from = to - DEFAULT_RANGE_MS[interval] }) => ({
    interval,
    from,
    to,
  }))
  .refine(({ from, to }) => from < to, { path: ['from'], message: 'must be before to' })

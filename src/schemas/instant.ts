import * as z from 'zod'

/** RFC 3339 writes years in four digits: a later instant could be kept, but not shown. */
const LAST_INSTANT = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

/** An instant in RFC 3339 on the wire, in milliseconds here. */
export const instant = z.iso
  .datetime({ offset: true })
  .transform((text) => Date.parse(text))
  .refine((time) => time <= LAST_INSTANT, 'must be before the year 10000 in UTC')

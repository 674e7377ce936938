import * as z from 'zod'
import { COST_MAX } from '../domain/meter.ts'
import { isLiteralScope, SCOPES_MAX } from '../domain/scopes.ts'

/** What a presented string may be at most: a token of 64 long scopes takes some 12,000. */
const PRESENTED_MAX_CHARACTERS = 16_384

export const verifyRequest = z.strictObject({
  api_key: z.string().min(1).max(PRESENTED_MAX_CHARACTERS),
  scopes: z
    .array(z.string().refine(isLiteralScope, 'must be a scope without *'))
    .max(SCOPES_MAX)
    .default([]),
  cost: z.int().min(0).max(COST_MAX).default(1),
  /** The only audience of a device token that counts. */
  audience: z.string().min(1).max(512).optional(),
  fresh: z.boolean().default(false),
})

import * as z from 'zod'
import { TOKEN_MAX_CHARACTERS } from '../domain/device-token.ts'
import { COST_MAX } from '../domain/meter.ts'
import { OWNER_PATTERN, OWNER_WANTED } from '../domain/owner.ts'
import { isLiteralScope, SCOPES_MAX } from '../domain/scopes.ts'

export const verifyRequest = z.strictObject({
  api_key: z.string().min(1).max(TOKEN_MAX_CHARACTERS),
  scopes: z
    .array(z.string().refine(isLiteralScope, 'must be a scope without *'))
    .max(SCOPES_MAX)
    .default([]),
  cost: z.int().min(0).max(COST_MAX).default(1),
  /** Required of who may verify everybody's devices: see ownerFor. */
  owner: z.string().regex(OWNER_PATTERN, OWNER_WANTED).optional(),
  /** The audience that a device token must name, or `any`. */
  audience: z.string().min(1).max(512).optional(),
  fresh: z.boolean().default(false),
})

import * as z from 'zod'
import { ASKED_SCOPES_MAX_BYTES, isHoldableScope, SCOPES_MAX } from '../domain/scopes.ts'
import { name } from './names.ts'
import { scopes, withOneExpiry, unscopedPolicyFields } from './keys.ts'

/** RFC 8628 §3.1. What comes in a form has each field once; what is unknown is ignored. */
export const deviceAuthorization = z.object({
  client_id: z.string().regex(/^[\x21-\x7e]{1,64}$/),
  scope: z
    .string()
    .refine((text) => Buffer.byteLength(text) <= ASKED_SCOPES_MAX_BYTES)
    .transform((text) => [...new Set(text.split(' ').filter((scope) => scope !== ''))])
    .refine((scopes) => scopes.length <= SCOPES_MAX)
    .refine((scopes) => scopes.every((scope) => isHoldableScope(scope)))
    .default([]),
  device_name: name.optional(),
})

const approval = z
  .strictObject({
    decision: z.literal('approve'),
    name: name.optional(),
    scopes: scopes.optional(),
    key: withOneExpiry(z.strictObject(unscopedPolicyFields)).prefault({}),
    device_id: z.string().min(1).max(64).optional(),
  })
  .refine(({ name, device_id: id }) => name === undefined || id === undefined, {
    path: ['device_id'],
    message: 'a device that is there keeps its name: name and device_id exclude each other',
  })

export const claimDecision = z.discriminatedUnion('decision', [
  approval,
  z.strictObject({ decision: z.literal('deny') }),
])

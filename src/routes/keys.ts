import { capReached } from '../http/auth/cap-reached.ts'
import { userContextOf } from '../http/auth/contexts.ts'
import { idempotent } from '../http/auth/idempotent.ts'
import { requireUser, type UserEnv } from '../http/auth/require-user.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import { validBody, validQuery } from '../http/validate.ts'
import { keyChange, keyPolicy, keyQuery, rotation } from '../schemas/keys.ts'
import { readLastUses } from '../services/devices/read-usage.ts'
import { createKey } from '../services/keys/create-key.ts'
import { findKey, type KeyPath, listKeys } from '../services/keys/find-keys.ts'
import { revokeKey } from '../services/keys/revoke-key.ts'
import { rotateKey } from '../services/keys/rotate-key.ts'
import { updateKey } from '../services/keys/update-key.ts'
import { keyInputOf } from './key-input.ts'
import { refusedRotation } from './refused-rotation.ts'
import { nextCursor, replayHeaders, toWireIssued, toWireKey } from './wire.ts'

/** The keys of a user's device. What is another's and what is not there are the same 404. */
export const keys = factory
  .createApp()
  .get('/v1/devices/:id/keys', requireUser(), validQuery(keyQuery), async (c) => {
    const { ctx } = c.var
    const { limit, cursor, status } = c.req.valid('query')
    const device = { userId: c.var.user.id, deviceId: c.req.param('id') }
    const page = await listKeys(ctx, { ...device, limit, after: cursor, status })
    if (!page.ok) return problem(c, page.reason)
    const { keys, hasMore } = page.value
    const last = hasMore ? keys.at(-1) : undefined
    const lastUses = await readLastUses(ctx, device.deviceId)
    return c.json({
      items: keys.map((key) => toWireKey(key, ctx.now, lastUses)),
      next_cursor: nextCursor(last && { at: last.createdAt, id: last.id }),
    })
  })
  .post('/v1/devices/:id/keys', requireUser(), idempotent, validBody(keyPolicy), async (c) => {
    const { user, settings, now } = c.var
    const device = { userId: user.id, deviceId: c.req.param('id') }
    c.var.log.deviceId = device.deviceId
    const policy = keyInputOf(c.req.valid('json'), c.var)
    if (!policy.ok) return problem(c, 'invalid_request', { errors: policy.reason })
    const input = { ...device, ...policy.value }
    const created = await createKey(userContextOf(c), input)
    if (!created.ok && created.reason === 'cap_reached') return capReached(c, 'keys')
    if (!created.ok) return problem(c, created.reason)
    const { key } = created.value
    c.var.log.keyId = key.id
    const location = `${settings.publicUrl}/v1/devices/${key.deviceId}/keys/${key.id}`
    const headers = { Location: location, ...replayHeaders(created.value) }
    return c.json(toWireIssued(created.value, now), 201, headers)
  })
  .get('/v1/devices/:id/keys/:key_id', requireUser(), async (c) => {
    const { ctx } = c.var
    const path = pathOf(c, c.req.param())
    const key = await findKey(ctx, path)
    if (!key.ok) return problem(c, key.reason)
    return c.json(toWireKey(key.value, ctx.now, await readLastUses(ctx, path.deviceId)))
  })
  .patch('/v1/devices/:id/keys/:key_id', requireUser(), validBody(keyChange), async (c) => {
    const { now } = c.var
    const { enabled, ...fields } = c.req.valid('json')
    const policy = keyInputOf(fields, c.var)
    if (!policy.ok) return problem(c, 'invalid_request', { errors: policy.reason })
    const input = { path: pathOf(c, c.req.param()), ...policy.value, enabled }
    const updated = await updateKey(userContextOf(c), input)
    if (updated.ok) return c.json(toWireKey(updated.value, now))
    return updated.reason === 'cap_reached' ? capReached(c, 'keys') : problem(c, updated.reason)
  })
  .delete('/v1/devices/:id/keys/:key_id', requireUser(), async (c) => {
    const revoked = await revokeKey(userContextOf(c), pathOf(c, c.req.param()))
    if (!revoked.ok) return problem(c, revoked.reason)
    if (!revoked.value.isNew) delete c.var.log.subject
    return c.body(null, 204)
  })
  .post(
    '/v1/devices/:id/keys/:key_id/rotate',
    requireUser(),
    idempotent,
    validBody(rotation),
    async (c) => {
      const { overlap_seconds: overlapSeconds, until_used: untilUsed } = c.req.valid('json')
      const input = { path: pathOf(c, c.req.param()), overlapSeconds, untilUsed }
      const rotated = await rotateKey(userContextOf(c), input)
      if (!rotated.ok) return refusedRotation(c, rotated.reason)
      return c.json(toWireIssued(rotated.value, c.var.now), 200, replayHeaders(rotated.value))
    },
  )

/** Which key the path names, under the user who asks; the log line names it too. */
function pathOf(
  c: { readonly var: UserEnv['Variables'] },
  params: { readonly id: string; readonly key_id: string },
): KeyPath {
  c.var.log.deviceId = params.id
  c.var.log.keyId = params.key_id
  return { userId: c.var.user.id, deviceId: params.id, keyId: params.key_id }
}

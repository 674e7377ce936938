import { factory } from '../http/env.ts'
import { requireUser, type UserEnv } from '../http/auth/require-user.ts'
import { problem } from '../http/problem.ts'
import { validBody, validQuery } from '../http/validate.ts'
import { keyChange, keyPolicy, keyQuery, rotation } from '../schemas/keys.ts'
import { findKey, type KeyPath, listKeys } from '../services/keys/find-keys.ts'
import { createKey, revokeKey, updateKey } from '../services/keys/create-key.ts'
import { rotateKey } from '../services/keys/rotate-key.ts'
import { readLastUses } from '../services/verify/count-usage.ts'
import { changeOf } from '../http/auth/audit-context.ts'
import { keyInputOf } from './key-input.ts'
import { nextCursor, presentKey } from './wire.ts'

/** The keys of a user's device. What is another's and what is not there are the same 404. */
export const keys = factory
  .createApp()
  .get('/v1/devices/:id/keys', requireUser(), validQuery(keyQuery), async (c) => {
    const { user, now } = c.var
    const { limit, cursor, status } = c.req.valid('query')
    const query = { limit, after: cursor, status }
    const page = await listKeys(c.env.DB, user.id, c.req.param('id'), query, now)
    if (page === undefined) return problem(c, 'not-found')
    const last = page.hasMore ? page.keys.at(-1) : undefined
    const lastUses = await readLastUses(c.env.DEVICE_STATE, c.req.param('id'))
    return c.json({
      items: page.keys.map((key) => presentKey(key, now, lastUses)),
      next_cursor: nextCursor(last && { at: last.createdAt, id: last.id }),
    })
  })
  .post('/v1/devices/:id/keys', requireUser(), validBody(keyPolicy), async (c) => {
    const { user, settings, now } = c.var
    const owner = { userId: user.id, deviceId: c.req.param('id') }
    const input = keyInputOf(c.req.valid('json'), now)
    c.var.log.deviceId = owner.deviceId
    const created = await createKey(changeOf(c, user.id), owner, input, settings)
    if (!created.ok) return problem(c, 'not-found')
    const { key, secret } = created.value
    c.var.log.keyId = key.id
    const location = `${settings.publicUrl}/v1/devices/${key.deviceId}/keys/${key.id}`
    return c.json({ key: presentKey(key, now), api_key: secret }, 201, { Location: location })
  })
  .get('/v1/devices/:id/keys/:key_id', requireUser(), async (c) => {
    const key = await findKey(c.env.DB, pathOf(c, c.req.param()), c.var.now)
    if (key === undefined) return problem(c, 'not-found')
    const lastUses = await readLastUses(c.env.DEVICE_STATE, key.deviceId)
    return c.json(presentKey(key, c.var.now, lastUses))
  })
  .patch('/v1/devices/:id/keys/:key_id', requireUser(), validBody(keyChange), async (c) => {
    const { user, now } = c.var
    const change = c.req.valid('json')
    const input = { ...keyInputOf(change, now), enabled: change.enabled }
    const updated = await updateKey(changeOf(c, user.id), pathOf(c, c.req.param()), input)
    if (updated.ok) return c.json(presentKey(updated.value, now))
    return problem(c, updated.reason === 'not_found' ? 'not-found' : 'key-revoked')
  })
  .delete('/v1/devices/:id/keys/:key_id', requireUser(), async (c) => {
    const revoked = await revokeKey(changeOf(c, c.var.user.id), pathOf(c, c.req.param()))
    if (!revoked.ok) return problem(c, 'not-found')
    if (!revoked.value.isNew) delete c.var.log.subject
    return c.body(null, 204)
  })
  .post('/v1/devices/:id/keys/:key_id/rotate', requireUser(), validBody(rotation), async (c) => {
    const { user, settings, now } = c.var
    const { overlap_seconds: overlap } = c.req.valid('json')
    const path = pathOf(c, c.req.param())
    const rotated = await rotateKey(changeOf(c, user.id), path, overlap, settings)
    if (rotated.ok) {
      return c.json({ key: presentKey(rotated.value.key, now), api_key: rotated.value.secret })
    }
    switch (rotated.reason) {
      case 'not_found':
        return problem(c, 'not-found')
      case 'key_revoked':
        return problem(c, 'key-revoked')
      case 'key_expired':
        return problem(c, 'key-expired')
      case 'overlap_running':
        return problem(c, 'overlap-running')
    }
  })

/** Which key the path names, under the user who asks; the log line names it too. */
function pathOf(
  c: { readonly var: UserEnv['Variables'] },
  params: { readonly id: string; readonly key_id: string },
): KeyPath {
  c.var.log.deviceId = params.id
  c.var.log.keyId = params.key_id
  return { userId: c.var.user.id, deviceId: params.id, keyId: params.key_id }
}

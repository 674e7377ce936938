import { rfc3339 } from '../domain/time.ts'
import { capReached } from '../http/auth/cap-reached.ts'
import { userContextOf } from '../http/auth/contexts.ts'
import { idempotent } from '../http/auth/idempotent.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import { validBody, validQuery } from '../http/validate.ts'
import { deviceChange, deviceCreation, deviceQuery } from '../schemas/devices.ts'
import { lastCheckIn } from '../services/devices/check-in.ts'
import { createDevice } from '../services/devices/create-device.ts'
import { deleteDevice } from '../services/devices/delete-device.ts'
import { type Device, findDevice, listDevices } from '../services/devices/find-devices.ts'
import { readLastUses } from '../services/devices/read-usage.ts'
import { updateDevice } from '../services/devices/update-device.ts'
import { keyInputOf } from './key-input.ts'
import { lastOf, nextCursor, replayHeaders, toWireIssued, toWireTime } from './wire.ts'

/** A user's devices. Another's device and one that is not there are the same 404. */
export const devices = factory
  .createApp()

  .post('/v1/devices', requireUser(), idempotent, validBody(deviceCreation), async (c) => {
    const { user, settings, now } = c.var
    const { key: policy, ...fields } = c.req.valid('json')
    const key = keyInputOf(policy, c.var, '/key')
    if (!key.ok) return problem(c, 'invalid_request', { errors: key.reason })
    const input = { ...fields, userId: user.id, key: key.value }
    const created = await createDevice(userContextOf(c), input)
    if (!created.ok && created.reason === 'cap_reached') return capReached(c, 'devices')
    if (!created.ok) return problem(c, created.reason)
    const { device } = created.value
    c.var.log.deviceId = device.id
    const location = `${settings.publicUrl}/v1/devices/${device.id}`
    return c.json({ device: toWire(device), ...toWireIssued(created.value, now) }, 201, {
      Location: location,
      ...replayHeaders(created.value),
    })
  })
  .get('/v1/devices', requireUser(), validQuery(deviceQuery), async (c) => {
    const { q: search, ...query } = c.req.valid('query')
    const listed = { ...query, userId: c.var.user.id, search }
    const { devices, next } = await listDevices(c.var.ctx, listed)
    return c.json({ items: devices.map(toWireItem), next_cursor: nextCursor(next) })
  })
  .get('/v1/devices/:id', requireUser(), async (c) => {
    const { ctx } = c.var
    const path = { userId: c.var.user.id, deviceId: c.req.param('id') }
    const device = await findDevice(ctx, path)
    if (!device.ok) return problem(c, device.reason)
    const [last, lastUses] = await Promise.all([
      lastCheckIn(ctx, path.deviceId),
      readLastUses(ctx, path.deviceId),
    ])
    return c.json({
      ...toWire(device.value),
      last_used_at: lastOf(lastUses),
      last_seen_at: toWireTime(last?.seenAt ?? null),
      last_report: last?.report ?? null,
    })
  })
  .patch('/v1/devices/:id', requireUser(), validBody(deviceChange), async (c) => {
    const path = { userId: c.var.user.id, deviceId: c.req.param('id') }
    c.var.log.deviceId = path.deviceId
    const updated = await updateDevice(userContextOf(c), { path, ...c.req.valid('json') })
    return updated.ok ? c.json(toWire(updated.value)) : problem(c, updated.reason)
  })
  .delete('/v1/devices/:id', requireUser(), async (c) => {
    const path = { userId: c.var.user.id, deviceId: c.req.param('id') }
    c.var.log.deviceId = path.deviceId
    const deleted = await deleteDevice(userContextOf(c), path)
    return deleted.ok ? c.body(null, 204) : problem(c, deleted.reason)
  })

function toWire(device: Device) {
  return {
    id: device.id,
    name: device.name,
    metadata: device.metadata,
    enabled: device.disabledAt === null,
    created_at: rfc3339(device.createdAt),
    updated_at: rfc3339(device.updatedAt),
  }
}

/** In a list the last use comes from D1, which learns only the day, and that up to an hour late. */
function toWireItem(device: Device) {
  return Object.assign(toWire(device), { last_used_on: dayOf(device.lastUsedAt) })
}

function dayOf(time: number | null): string | null {
  return time === null ? null : rfc3339(time).slice(0, 'YYYY-MM-DD'.length)
}

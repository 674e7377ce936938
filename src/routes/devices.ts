import { factory } from '../http/env.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { denied, problem } from '../http/problem.ts'
import { validBody, validQuery } from '../http/validate.ts'
import { deviceChange, deviceCreation, deviceQuery } from '../schemas/devices.ts'
import { lastCheckIn } from '../services/devices/check-in.ts'
import { createDevice, deleteDevice, updateDevice } from '../services/devices/create-device.ts'
import { type Device, findDevice, listDevices } from '../services/devices/find-devices.ts'
import { readLastUses } from '../services/verify/count-usage.ts'
import { changeOf } from '../http/auth/audit-context.ts'
import { keyInputOf } from './key-input.ts'
import { lastOf, nextCursor, optionalTimestamp, presentKey, timestamp } from './wire.ts'

/** A user's devices. Another's device and one that is not there are the same 404. */
export const devices = factory
  .createApp()
  .post('/v1/devices', requireUser(), validBody(deviceCreation), async (c) => {
    const { user, settings, now } = c.var
    const { key: policy, ...fields } = c.req.valid('json')
    const input = { ...fields, key: keyInputOf(policy, now) }
    const created = await createDevice(changeOf(c, user.id), user.id, input, settings)
    if (!created.ok) {
      // The account went while this request was under way, and its sessions with it.
      if (created.reason === 'owner_gone') return denied(c, 'revoked')
      return problem(c, 'device-name-taken')
    }
    const { device, key, secret } = created.value
    c.var.log.deviceId = device.id
    const body = { device: present(device), key: presentKey(key, now), api_key: secret }
    return c.json(body, 201, { Location: `${settings.publicUrl}/v1/devices/${device.id}` })
  })
  .get('/v1/devices', requireUser(), validQuery(deviceQuery), async (c) => {
    const { limit, cursor, q, status } = c.req.valid('query')
    const query = { limit, after: cursor, search: q, status }
    const page = await listDevices(c.env.DB, c.var.user.id, query)
    const last = page.hasMore ? page.devices.at(-1) : undefined
    return c.json({
      items: page.devices.map(presentInList),
      next_cursor: nextCursor(last && { at: last.createdAt, id: last.id }),
    })
  })
  .get('/v1/devices/:id', requireUser(), async (c) => {
    const device = await findDevice(c.env.DB, c.var.user.id, c.req.param('id'))
    if (device === undefined) return problem(c, 'not-found')
    const states = c.env.DEVICE_STATE
    const [last, lastUses] = await Promise.all([
      lastCheckIn(states, device.id),
      readLastUses(states, device.id),
    ])
    return c.json({
      ...present(device),
      last_used_at: lastOf(lastUses),
      last_seen_at: optionalTimestamp(last?.seenAt ?? null),
      last_report: last?.report ?? null,
    })
  })
  .patch('/v1/devices/:id', requireUser(), validBody(deviceChange), async (c) => {
    const { user } = c.var
    const id = c.req.param('id')
    c.var.log.deviceId = id
    const updated = await updateDevice(changeOf(c, user.id), user.id, id, c.req.valid('json'))
    if (updated.ok) return c.json(present(updated.value))
    return problem(c, updated.reason === 'not_found' ? 'not-found' : 'device-name-taken')
  })
  .delete('/v1/devices/:id', requireUser(), async (c) => {
    const { user } = c.var
    const id = c.req.param('id')
    c.var.log.deviceId = id
    const deleted = await deleteDevice(changeOf(c, user.id), user.id, id)
    return deleted.ok ? c.body(null, 204) : problem(c, 'not-found')
  })

function present(device: Device) {
  return {
    id: device.id,
    name: device.name,
    metadata: device.metadata,
    enabled: device.disabledAt === null,
    created_at: timestamp(device.createdAt),
    updated_at: timestamp(device.updatedAt),
  }
}

/** In a list the last use comes from D1, which learns only the day, and that up to an hour late. */
function presentInList(device: Device) {
  return Object.assign(present(device), { last_used_on: dayOf(device.lastUsedAt) })
}

function dayOf(time: number | null): string | null {
  return time === null ? null : timestamp(time).slice(0, 'YYYY-MM-DD'.length)
}

import { rfc3339 } from '../domain/time.ts'
import { verifyContextOf } from '../http/auth/audit-context.ts'
import { requireDevice } from '../http/auth/require-device.ts'
import { factory } from '../http/env.ts'
import { validBody } from '../http/validate.ts'
import { checkIn as checkInBody } from '../schemas/devices.ts'
import { checkIn } from '../services/devices/check-in.ts'
import { limitFields } from '../services/keys/key-row.ts'
import { toWireTime } from './wire.ts'

/** What a device calls with its own key. */
export const device = factory
  .createApp()
  .get('/v1/device', requireDevice(), (c) => {
    const { device, key, owner } = c.var
    return c.json({
      device: { id: device.id, name: device.name },
      owner: { id: owner.id },
      key: {
        id: key.id,
        name: key.name,
        scopes: key.scopes,
        expires_at: toWireTime(key.expiresAt),
        ...limitFields(key.limits),
      },
    })
  })
  .post('/v1/device/check-ins', requireDevice(), validBody(checkInBody), async (c) => {
    const { report } = c.req.valid('json')
    const { receivedAt } = await checkIn(verifyContextOf(c), { deviceId: c.var.device.id, report })
    return c.json({ received_at: rfc3339(receivedAt) }, 201)
  })

import { rfc3339 } from '../domain/time.ts'
import { auditContextOf } from '../http/auth/contexts.ts'
import { idempotent } from '../http/auth/idempotent.ts'
import { requireDevice } from '../http/auth/require-device.ts'
import { countryOf } from '../http/client.ts'
import { factory } from '../http/env.ts'
import { validBody } from '../http/validate.ts'
import { checkIn as checkInBody } from '../schemas/devices.ts'
import { ownRotation } from '../schemas/keys.ts'
import { checkIn } from '../services/devices/check-in.ts'
import { limitFields } from '../services/keys/key-row.ts'
import { rotateOwnKey } from '../services/keys/rotate-own-key.ts'
import { recordFirstUse } from '../services/verify/record-first-use.ts'
import { refusedRotation } from './refused-rotation.ts'
import { replayHeaders, toWireIssued, toWireTime } from './wire.ts'

/** What a device calls with its own key. */
export const device = factory
  .createApp()
  .get('/v1/device', requireDevice({ owner: 'any' }), (c) => {
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
  .post(
    '/v1/device/check-ins',
    requireDevice({ owner: 'any' }),
    validBody(checkInBody),
    async (c) => {
      const { report } = c.req.valid('json')
      const { receivedAt } = await checkIn(c.var.ctx, { deviceId: c.var.device.id, report })
      return c.json({ received_at: rfc3339(receivedAt) }, 201)
    },
  )
  .post(
    '/v1/device/rotate',
    requireDevice({ owner: 'any', secretOnly: true }),
    idempotent,
    validBody(ownRotation),
    async (c) => {
      const { device, policy, credential } = c.var
      const ctx = auditContextOf(c, c.var.ctx, { type: 'device', deviceId: device.id })
      if (credential.kind === 'secret') {
        // What asks is used: before a successor is made, the one that it replaced ends.
        const { hash, snapshot } = credential
        await recordFirstUse(ctx, { hash, snapshot, policy, country: countryOf(c) })
      }
      const { overlap_seconds: overlapSeconds } = c.req.valid('json')
      const input = { policy, secretHash: credential.hash, overlapSeconds }
      const rotated = await rotateOwnKey(ctx, input)
      if (rotated.ok) {
        return c.json(toWireIssued(rotated.value, c.var.now), 200, replayHeaders(rotated.value))
      }
      return refusedRotation(c, rotated.reason)
    },
  )

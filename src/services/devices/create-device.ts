import { newId } from '../../crypto/ids.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { devices } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { type Change, openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { auditFieldsOf, insertKey, prepareKey } from '../keys/create-key.ts'
import type { Key } from '../keys/find-keys.ts'
import type { KeyInput } from '../keys/key-row.ts'
import type { Device } from './find-devices.ts'

export type DeviceInput = {
  readonly userId: string
  readonly name: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly key: KeyInput
}

/** Makes a device with its first key. The secret is in the result and nowhere else. */
export async function createDevice(
  ctx: AuditContext,
  input: DeviceInput,
): Promise<Result<{ device: Device; key: Key; secret: string }, 'device_name_taken'>> {
  const { userId, name, metadata } = input
  const { now } = ctx
  const device: Device = {
    id: newId('dev'),
    name,
    metadata,
    createdAt: now,
    updatedAt: now,
    disabledAt: null,
    lastUsedAt: null,
  }
  const made = await prepareKey(ctx, device.id, input.key)
  const { key, secret } = made
  const change = openChange(ctx, {
    action: 'device.created',
    userId,
    deviceId: device.id,
    keyId: key.id,
    after: { name, metadata, key: auditFieldsOf(key) },
  })
  try {
    await commit(change, {
      device: insertDevice(change, userId, device),
      ...insertKey(change, made),
    })
    return ok({ device, key, secret: secret.secret })
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  }
}

/** The statement of a change that keeps a device. */
export function insertDevice(change: Change, userId: string, { metadata, ...device }: Device) {
  return change.insert(devices, { ...device, userId, metadata: JSON.stringify(metadata) })
}

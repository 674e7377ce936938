import { newId } from '../../crypto/ids.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { devices } from '../../db/schema.ts'
import { foldForSearch } from '../../domain/names.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { type HandedOut, rememberOnce, type Reused, unlessDone } from '../changes/idempotency.ts'
import { type Change, openChange } from '../changes/open-change.ts'
import type { AuditContext, VerifyContext } from '../context.ts'
import { auditFieldsOf, insertKey, prepareKey } from '../keys/create-key.ts'
import { type IssuedKey, issuedAgain } from '../keys/issued-key.ts'
import type { KeyInput } from '../keys/key-row.ts'
import { hasRoomForDevice } from './device-cap.ts'
import { type Device, findDevice } from './find-devices.ts'

type DeviceInput = {
  readonly userId: string
  readonly name: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly key: KeyInput
}

type IssuedDevice = IssuedKey & { readonly device: Device }

/** Makes a device with its first key. */
export async function createDevice(
  ctx: AuditContext,
  input: DeviceInput,
): Promise<Result<IssuedDevice, 'device_name_taken' | 'cap_reached' | 'not_found' | Reused>> {
  const { userId, name, metadata } = input
  const device = { id: newId('dev'), name, metadata, ...madeAt(ctx.now) }
  const made = await prepareKey(ctx, device.id, input.key)
  const { key, secret } = made
  const change = openChange(
    ctx,
    {
      action: 'device.created',
      userId,
      deviceId: device.id,
      keyId: key.id,
      after: { name, metadata, key: auditFieldsOf(key) },
    },
    hasRoomForDevice(ctx, userId),
    await rememberOnce(ctx, { deviceId: device.id, keyId: key.id, secret: secret.secret }),
  )
  const statements = { device: insertDevice(change, userId, device), ...insertKey(change, made) }
  try {
    const outcome = await unlessDone(ctx, async () => await commit(change, statements))
    if ('repeated' in outcome) return await deviceAgain(ctx, userId, outcome.repeated)
    if (!outcome.made.happened) return err('cap_reached')
    return ok({ device, key, secret: secret.secret, isUsed: false, isReplay: false })
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  }
}

async function deviceAgain(
  ctx: VerifyContext,
  userId: string,
  repeated: Result<HandedOut, Reused>,
): Promise<Result<IssuedDevice, 'not_found' | Reused>> {
  const issued = await issuedAgain(ctx, userId, repeated)
  if (!issued.ok) return issued
  const device = await findDevice(ctx, { userId, deviceId: issued.value.key.deviceId })
  return device.ok ? ok({ ...issued.value, device: device.value }) : device
}

/** The times of a device that was made just now. */
export function madeAt(now: number) {
  return { createdAt: now, updatedAt: now, disabledAt: null, lastUsedAt: null }
}

/** The statement of a change that keeps a device. */
export function insertDevice(change: Change, userId: string, { metadata, ...device }: Device) {
  return change.insert(devices, {
    ...device,
    userId,
    nameFolded: foldForSearch(device.name),
    metadata: JSON.stringify(metadata),
  })
}

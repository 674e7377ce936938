import { eq, type SQL, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { openDatabase } from '../../db/client.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { devices, users } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { Settings } from '../../settings.ts'
import { recordAudit, type Change } from '../changes/record-audit.ts'
import { disabledAtFor, enabledIn } from '../../db/columns.ts'
import { evictingAfter } from '../changes/evict-after.ts'
import { type Device, deviceColumns, findDevice, ownDevice, toDevice } from './find-devices.ts'
import type { Key } from '../keys/find-keys.ts'
import { removeDevices } from './remove-devices.ts'
import { recordRevocation } from '../verify/read-feed.ts'
import { type KeyInput, policyOf, prepareKey } from '../keys/create-key.ts'

export type DeviceInput = {
  readonly name: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly key: KeyInput
}

/** Makes a device with its first key. The secret is in the result and nowhere else. */
export async function createDevice(
  change: Change,
  userId: string,
  input: DeviceInput,
  settings: Settings,
): Promise<
  Result<{ device: Device; key: Key; secret: string }, 'device_name_taken' | 'owner_gone'>
> {
  const { now } = change
  const db = openDatabase(change.database)
  const device: Device = {
    id: newId('dev'),
    name: input.name,
    metadata: input.metadata,
    createdAt: now,
    updatedAt: now,
    disabledAt: null,
    lastUsedAt: null,
  }
  const owner = { userId, deviceId: device.id }
  const { key, secret, statements } = await prepareKey(db, now, owner, input.key, settings)
  const after = { name: device.name, metadata: device.metadata, key: policyOf(key) }
  const made = sql`exists (select 1 from ${devices} where ${devices.id} = ${device.id})`
  try {
    const [inserted] = await db.batch([
      // Only under an owner who is still there: the account may be going in another request.
      db
        .insert(devices)
        .select(
          sql`select ${device.id}, ${users.id}, ${device.name}, ${JSON.stringify(device.metadata)},
            ${now}, ${now}, null, null from ${users} where ${eq(users.id, userId)}`,
        )
        .returning({ id: devices.id }),
      ...statements,
      recordAudit(db, change, { action: 'device.created', ...owner, keyId: key.id, after }, made),
    ])
    return inserted.length > 0 ? ok({ device, key, secret }) : err('owner_gone')
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  }
}

export type DeviceChange = {
  readonly name?: string | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  readonly enabled?: boolean | undefined
}

/** Changes what is given and leaves the rest. */
export async function updateDevice(
  change: Change,
  userId: string,
  deviceId: string,
  input: DeviceChange,
): Promise<Result<Device, 'not_found' | 'device_name_taken'>> {
  const db = openDatabase(change.database)
  const own = ownDevice(userId, deviceId)
  if (Object.values(input).every((value) => value === undefined)) {
    const device = await findDevice(change.database, userId, deviceId)
    return device === undefined ? err('not_found') : ok(device)
  }
  const { name, metadata, enabled } = input
  const fields = {
    ...(name === undefined ? {} : { name }),
    ...(metadata === undefined ? {} : { metadata: JSON.stringify(metadata) }),
    ...(enabled === undefined
      ? {}
      : { disabledAt: disabledAtFor(enabled, devices.disabledAt, change.now) }),
  }
  const audit = {
    action: 'device.updated',
    userId,
    deviceId,
    before: sql`(select ${stateBefore(input)} from ${devices} where ${own})`,
    after: input,
  } as const
  const happens = sql`exists (select 1 from ${devices} where ${own})`
  try {
    const [, , [row]] = await evictingAfter(
      deviceId,
      async () =>
        await db.batch([
          recordAudit(db, change, audit, happens),
          recordRevocation(db, deviceId, change.now, enabled === false ? happens : sql`false`),
          db
            .update(devices)
            .set({ ...fields, updatedAt: change.now })
            .where(own)
            .returning(deviceColumns),
        ]),
      ([, , updated]) => updated.length > 0,
    )
    return row === undefined ? err('not_found') : ok(toDevice(row))
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  }
}

/** Deletes a device with its keys: see device-removal.ts for what stays. */
export async function deleteDevice(
  change: Change,
  userId: string,
  deviceId: string,
): Promise<Result<void, 'not_found'>> {
  const db = openDatabase(change.database)
  const own = ownDevice(userId, deviceId)
  const audit = {
    action: 'device.deleted',
    userId,
    deviceId,
    before: sql`(select json_object('name', ${devices.name}, 'metadata',
      json(${devices.metadata})) from ${devices} where ${own})`,
  } as const
  const happens = sql`exists (select 1 from ${devices} where ${own})`
  const results = await evictingAfter(
    deviceId,
    async () =>
      await db.batch([
        recordAudit(db, change, audit, happens),
        recordRevocation(db, deviceId, change.now, happens),
        ...removeDevices(db, change.now, userId, own),
      ]),
    ([, , , , , deleted]) => deleted.length > 0,
  )
  return results[5].length > 0 ? ok(undefined) : err('not_found')
}

/** The changed fields as they are in the row, in the words of the wire. */
function stateBefore(input: DeviceChange): SQL {
  const fields = [
    ...(input.name === undefined ? [] : [sql`'name', ${devices.name}`]),
    ...(input.metadata === undefined ? [] : [sql`'metadata', json(${devices.metadata})`]),
    ...(input.enabled === undefined ? [] : [sql`'enabled', ${enabledIn(devices.disabledAt)}`]),
  ]
  return sql`json_object(${sql.join(fields, sql`, `)})`
}

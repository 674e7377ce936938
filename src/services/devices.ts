import { and, asc, eq, gt, isNotNull, isNull, or, type SQL, sql } from 'drizzle-orm'
import { newId } from '../crypto/ids.ts'
import { openDatabase, type Database } from '../db/client.ts'
import { violatedUniqueColumn } from '../db/errors.ts'
import { devices } from '../db/schema.ts'
import { err, ok, type Result } from '../domain/result.ts'
import { keyCache } from '../edge/key-cache.ts'
import type { Settings } from '../settings.ts'
import { recordAudit, type Change } from './change.ts'
import { disabledAtFor, enabledIn } from './enabled.ts'
import type { Key } from './find-keys.ts'
import { removeDevices } from './device-removal.ts'
import { type KeyInput, policyOf, prepareKey } from './keys.ts'

export type Device = {
  readonly id: string
  readonly name: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly createdAt: number
  readonly updatedAt: number
  readonly disabledAt: number | null
}

const deviceColumns = {
  id: devices.id,
  name: devices.name,
  metadata: devices.metadata,
  createdAt: devices.createdAt,
  updatedAt: devices.updatedAt,
  disabledAt: devices.disabledAt,
}

/** Makes a device with its first key. The secret is in the result and nowhere else. */
export async function createDevice(
  change: Change,
  userId: string,
  input: {
    readonly name: string
    readonly metadata: Readonly<Record<string, unknown>>
    readonly key: KeyInput
  },
  settings: Settings,
): Promise<Result<{ device: Device; key: Key; secret: string }, 'device_name_taken'>> {
  const { now } = change
  const db = openDatabase(change.database)
  const device: Device = {
    id: newId('dev'),
    name: input.name,
    metadata: input.metadata,
    createdAt: now,
    updatedAt: now,
    disabledAt: null,
  }
  const { key, secret, statements } = await prepareKey(
    db,
    now,
    { userId, deviceId: device.id },
    input.key,
    settings,
  )
  try {
    await db.batch([
      db.insert(devices).values({ ...device, userId, metadata: JSON.stringify(device.metadata) }),
      ...statements,
      recordAudit(db, change, {
        action: 'device.created',
        userId,
        deviceId: device.id,
        keyId: key.id,
        after: { name: device.name, metadata: device.metadata, key: policyOf(key) },
      }),
    ])
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  }
  return ok({ device, key, secret })
}

/** A page of the user's devices, oldest first, and whether more follow. */
export async function listDevices(
  database: D1Database,
  userId: string,
  query: {
    readonly limit: number
    readonly after?: { readonly at: number; readonly id: string } | undefined
    readonly search?: string | undefined
    readonly status?: 'enabled' | 'disabled' | undefined
  },
): Promise<{ devices: Device[]; hasMore: boolean }> {
  const { limit, after, search, status } = query
  const rows = await openDatabase(database)
    .select(deviceColumns)
    .from(devices)
    .where(
      and(
        eq(devices.userId, userId),
        after === undefined ? undefined : isAfter(after),
        // LIKE patterns over 50 bytes are an error in D1.
        search === undefined ? undefined : sql`instr(lower(${devices.name}), lower(${search})) > 0`,
        status === 'enabled' ? isNull(devices.disabledAt) : undefined,
        status === 'disabled' ? isNotNull(devices.disabledAt) : undefined,
      ),
    )
    .orderBy(asc(devices.createdAt), asc(devices.id))
    .limit(limit + 1)
  return { devices: rows.slice(0, limit).map(toDevice), hasMore: rows.length > limit }
}

export async function findDevice(
  database: D1Database,
  userId: string,
  deviceId: string,
): Promise<Device | undefined> {
  return await selectDevice(openDatabase(database), ownDevice(userId, deviceId))
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
    const device = await selectDevice(db, own)
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
  try {
    const [, updated] = await db.batch([
      recordAudit(
        db,
        change,
        {
          action: 'device.updated',
          userId,
          deviceId,
          before: sql`(select ${stateBefore(input)} from ${devices} where ${own})`,
          after: input,
        },
        sql`exists (select 1 from ${devices} where ${own})`,
      ),
      db
        .update(devices)
        .set({ ...fields, updatedAt: change.now })
        .where(own)
        .returning(deviceColumns),
    ])
    const [row] = updated
    return row === undefined ? err('not_found') : ok(toDevice(row))
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  } finally {
    // Also after a failure: a commit whose answer was lost is a commit.
    keyCache.forget(deviceId)
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
  try {
    const [, , , , deleted] = await db.batch([
      recordAudit(
        db,
        change,
        {
          action: 'device.deleted',
          userId,
          deviceId,
          before: sql`(select json_object('name', ${devices.name}, 'metadata',
          json(${devices.metadata})) from ${devices} where ${own})`,
        },
        sql`exists (select 1 from ${devices} where ${own})`,
      ),
      ...removeDevices(db, change.now, userId, own),
    ])
    return deleted.length > 0 ? ok(undefined) : err('not_found')
  } finally {
    keyCache.forget(deviceId)
  }
}

/** The owner is part of every predicate: another's device is one that is not there. */
function ownDevice(userId: string, deviceId: string): SQL | undefined {
  return and(eq(devices.id, deviceId), eq(devices.userId, userId))
}

async function selectDevice(db: Database, where: SQL | undefined): Promise<Device | undefined> {
  const [row] = await db.select(deviceColumns).from(devices).where(where)
  return row === undefined ? undefined : toDevice(row)
}

function isAfter(position: { at: number; id: string }): SQL | undefined {
  return or(
    gt(devices.createdAt, position.at),
    and(eq(devices.createdAt, position.at), gt(devices.id, position.id)),
  )
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

function toDevice(row: Omit<Device, 'metadata'> & { readonly metadata: string }): Device {
  return { ...row, metadata: parseObject(row.metadata) }
}

function parseObject(text: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {}
}

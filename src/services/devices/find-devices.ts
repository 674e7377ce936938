import { and, asc, eq, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { isAfter, type Position } from '../../db/keyset.ts'
import { devices } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { VerifyContext } from '../context.ts'

export type Device = {
  readonly id: string
  readonly name: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly createdAt: number
  readonly updatedAt: number
  readonly disabledAt: number | null
  /** The day of its last use, in milliseconds. */
  readonly lastUsedAt: number | null
}

export const deviceColumns = {
  id: devices.id,
  name: devices.name,
  metadata: devices.metadata,
  createdAt: devices.createdAt,
  updatedAt: devices.updatedAt,
  disabledAt: devices.disabledAt,
  lastUsedAt: devices.lastUsedAt,
}

/** A page of the user's devices, oldest first, and whether more follow. */
export async function listDevices(
  { database }: VerifyContext,
  query: {
    readonly userId: string
    readonly limit: number
    readonly after?: Position | undefined
    readonly search?: string | undefined
    readonly status?: 'enabled' | 'disabled' | undefined
  },
): Promise<{ devices: Device[]; hasMore: boolean }> {
  const { userId, limit, after, search, status } = query
  const rows = await openDatabase(database)
    .select(deviceColumns)
    .from(devices)
    .where(
      and(
        eq(devices.userId, userId),
        after === undefined ? undefined : isAfter(devices.createdAt, devices.id, after),
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
  { database }: VerifyContext,
  path: DevicePath,
): Promise<Result<Device, 'not_found'>> {
  const [row] = await openDatabase(database)
    .select(deviceColumns)
    .from(devices)
    .where(ownDevice(path))
  return row === undefined ? err('not_found') : ok(toDevice(row))
}

/** Which device of which user: both must fit. */
export type DevicePath = { readonly userId: string; readonly deviceId: string }

/** The owner is part of every predicate: another's device is one that is not there. */
export function ownDevice({ userId, deviceId }: DevicePath): SQL | undefined {
  return and(eq(devices.id, deviceId), eq(devices.userId, userId))
}

export function toDevice(row: Omit<Device, 'metadata'> & { readonly metadata: string }): Device {
  return { ...row, metadata: parseObject(row.metadata) }
}

function parseObject(text: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {}
}

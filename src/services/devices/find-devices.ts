import { and, eq, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import { openDatabase } from '../../db/client.ts'
import { isAfter, type Position } from '../../db/keyset.ts'
import { devices } from '../../db/schema.ts'
import { foldForSearch } from '../../domain/names.ts'
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

/** In which order devices are listed, and after which of them a page begins. */
type DeviceOrder =
  | { readonly by: 'age'; readonly after?: Position | undefined }
  | {
      readonly by: 'name'
      readonly prefix: string
      readonly after?: NamePosition | undefined
    }

/** A folded name, and the id among those that fold alike. */
type NamePosition = { readonly name: string; readonly id: string }

/** A page of the user's devices, and after which the next one begins, if there is one. */
export async function listDevices(
  { database }: VerifyContext,
  query: {
    readonly userId: string
    readonly limit: number
    readonly order: DeviceOrder
    readonly search?: string | undefined
    readonly status?: 'enabled' | 'disabled' | undefined
  },
): Promise<{ devices: Device[]; next: Position | NamePosition | undefined }> {
  const { userId, limit, order, search, status } = query
  const rows = await openDatabase(database)
    .select({ ...deviceColumns, folded: FOLDED })
    .from(devices)
    .where(
      and(
        eq(devices.userId, userId),
        isInRange(order),
        // LIKE patterns over 50 bytes are an error in D1.
        search === undefined ? undefined : sql`instr(${FOLDED}, ${foldForSearch(search)}) > 0`,
        status === 'enabled' ? isNull(devices.disabledAt) : undefined,
        status === 'disabled' ? isNotNull(devices.disabledAt) : undefined,
      ),
    )
    .orderBy(order.by === 'age' ? devices.createdAt : FOLDED, devices.id)
    .limit(limit + 1)
  const last = rows.length > limit ? rows.at(limit - 1) : undefined
  const next =
    order.by === 'age'
      ? last && { at: last.createdAt, id: last.id }
      : last && { name: last.folded, id: last.id }
  return { devices: rows.slice(0, limit).map(toDevice), next }
}

/** What `devices_user_folded` is an index on. Rows of before names were folded have none yet. */
const FOLDED = sql<string>`coalesce(${devices.nameFolded}, lower(${devices.name}))`

/** The greatest code point: whatever begins with a prefix comes before the prefix and this. */
const LAST_CODE_POINT = '\u{10FFFF}'

function isInRange(order: DeviceOrder): SQL | undefined {
  if (order.by === 'age') {
    return order.after && isAfter(devices.createdAt, devices.id, order.after)
  }
  const prefix = foldForSearch(order.prefix)
  const { name, id } = order.after ?? { name: prefix, id: '' }
  return and(
    sql`${FOLDED} >= ${name < prefix ? prefix : name}`,
    sql`${FOLDED} < ${prefix + LAST_CODE_POINT}`,
    sql`(${FOLDED} > ${name} or ${devices.id} > ${id})`,
  )
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

import { and, isNull, ne, or, type SQL, sql } from 'drizzle-orm'
import { differsFrom, disabledAtFor, enabledIn } from '../../db/columns.ts'
import { violatedUniqueColumn } from '../../db/errors.ts'
import { devices } from '../../db/schema.ts'
import { foldForSearch } from '../../domain/names.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import {
  type Device,
  deviceColumns,
  type DevicePath,
  findDevice,
  ownDevice,
  toDevice,
} from './find-devices.ts'

type DeviceChange = {
  readonly name?: string | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  readonly enabled?: boolean | undefined
}

/** Changes what is given and leaves the rest. What is so already is no change. */
export async function updateDevice(
  ctx: AuditContext,
  { path, ...input }: DeviceChange & { readonly path: DevicePath },
): Promise<Result<Device, 'not_found' | 'device_name_taken'>> {
  if (Object.values(input).every((value) => value === undefined)) return await findDevice(ctx, path)
  const { name, metadata, enabled } = input
  const fields = {
    ...(name === undefined ? {} : { name }),
    ...(metadata === undefined ? {} : { metadata: JSON.stringify(metadata) }),
    ...(enabled === undefined
      ? {}
      : { disabledAt: disabledAtFor(enabled, devices.disabledAt, ctx.now) }),
  }
  const folded = name === undefined ? {} : { nameFolded: foldForSearch(name) }
  const own = ownDevice(path)
  const changeable = and(own, differsFrom(devices, fields))
  const change = openChange(
    ctx,
    {
      action: 'device.updated',
      ...path,
      before: sql`(select ${stateBefore(input)} from ${devices}
        where ${changeable})`,
      after: input,
    },
    sql`exists (select 1 from ${devices} where ${changeable})`,
  )
  try {
    const { rows } = await commitThenEvict(change, path.deviceId, {
      ended: change.endTokens(path.deviceId, { if: changesTokens(path, input) }),
      updated: change.update(devices, { ...fields, ...folded, updatedAt: ctx.now }, own),
      rows: change.db.select(deviceColumns).from(devices).where(own),
    })
    const [row] = rows
    return row === undefined ? err('not_found') : ok(toDevice(row))
  } catch (thrown) {
    if (violatedUniqueColumn(thrown) === 'devices.user_id') return err('device_name_taken')
    throw thrown
  }
}

/** Whether the change makes earlier tokens untrue: they say the device's name. */
function changesTokens(path: DevicePath, { name, enabled }: DeviceChange): SQL {
  const differs = or(
    name === undefined ? sql`false` : ne(devices.name, name),
    enabled === false ? isNull(devices.disabledAt) : undefined,
  )
  return sql`exists (select 1 from ${devices} where ${and(ownDevice(path), differs)})`
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

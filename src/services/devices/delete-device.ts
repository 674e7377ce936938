import { sql } from 'drizzle-orm'
import { devices } from '../../db/schema.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commitThenEvict } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext } from '../context.ts'
import { type DevicePath, ownDevice } from './find-devices.ts'
import { removeDevices } from './remove-devices.ts'

/** Deletes a device with its keys: see remove-devices.ts for what stays. */
export async function deleteDevice(
  ctx: AuditContext,
  path: DevicePath,
): Promise<Result<void, 'not_found'>> {
  const own = ownDevice(path)
  const change = openChange(
    ctx,
    {
      action: 'device.deleted',
      ...path,
      before: sql`(select json_object('name', ${devices.name}, 'metadata',
        json(${devices.metadata})) from ${devices} where ${own})`,
    },
    sql`exists (select 1 from ${devices} where ${own})`,
  )
  const { happened } = await commitThenEvict(change, path.deviceId, {
    ended: change.endTokens(path.deviceId),
    ...removeDevices(change, path.userId, own),
  })
  return happened ? ok(undefined) : err('not_found')
}

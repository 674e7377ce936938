import { cpSync, globSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Deployment } from './killable-worker.ts'

/** What a kill has left of the database. */
export type KeptRows = {
  /** The audited actions by the id of their request. */
  readonly records: ReadonlyMap<string, readonly string[]>
  /** What is damaged or half done. */
  readonly damage: readonly string[]
}

const CREATED = `('device.created', 'key.created')`

/**
 * What would be a change of which only a part happened: each query finds such rows. Nothing here
 * prunes the feed or the purges: only the cron does, which does not run.
 */
const HALVES: Readonly<Record<string, string>> = {
  'a user without a record': `select id from users where not exists
    (select 1 from audit_events where user_id = users.id and action = 'user.created')`,
  'a session without a record': `select s.id from sessions s where not exists
    (select 1 from audit_events where action = 'session.created' and at = s.created_at)`,
  'a device without a key': `select id from devices where not exists
    (select 1 from api_keys where device_id = devices.id)`,
  'a device without a record': `select id from devices where not exists
    (select 1 from audit_events where device_id = devices.id and action = 'device.created')`,
  'a record of a device that is not there': `select device_id from audit_events e
    where action = 'device.created'
    and not exists (select 1 from devices where id = e.device_id) and not exists
      (select 1 from audit_events where device_id = e.device_id and action = 'device.deleted')`,
  'a key without a record': `select id from api_keys where not exists
    (select 1 from audit_events where key_id = api_keys.id and action in ${CREATED})`,
  'a record of a key that is not there': `select key_id from audit_events e
    where action in ${CREATED}
    and not exists (select 1 from api_keys where id = e.key_id) and not exists
      (select 1 from audit_events where device_id = e.device_id and action = 'device.deleted')`,
  'a live key without a live secret': `select id from api_keys
    where revoked_at is null and not exists
      (select 1 from key_secrets where key_id = api_keys.id and revoked_at is null)`,
  'a key whose secrets are not as many as their records': `select id from api_keys
    where (select count(*) from key_secrets where key_id = api_keys.id) <>
      (select count(*) from audit_events
       where key_id = api_keys.id and action in ('device.created', 'key.created', 'key.rotated'))`,
  'a key that is revoked or recorded as revoked, and not both': `select id from api_keys
    where (revoked_at is not null) <> exists
      (select 1 from audit_events where key_id = api_keys.id and action = 'key.revoked')`,
  'a tombstone that is not revoked': `select hint from key_secrets
    where key_id is null and (revoked_at is null or tombstone_user_id is null)`,
  'a deleted device that is there': `select id from devices where exists
    (select 1 from audit_events where device_id = devices.id and action = 'device.deleted')`,
  'a deleted device whose object nobody will empty': `select device_id from audit_events e
    where action = 'device.deleted' and not exists
      (select 1 from purges where device_id = e.device_id)`,
  'an end that the feed does not tell': `
    select key_id from audit_events e where action = 'key.revoked'
    and not exists (select 1 from revocations where subject = e.key_id)
    union all select device_id from audit_events e where action = 'device.deleted'
    and not exists (select 1 from revocations where subject = e.device_id)
    union all select hint from key_secrets where key_id is not null and revoked_at is not null
    and not exists (select 1 from revocations where subject = hash)`,
  'a device that is not switched as its last record says': `select id from devices
    where (disabled_at is null) <> coalesce(
      (select json_extract(after, '$.enabled') from audit_events
       where device_id = devices.id and action = 'device.updated' order by rowid desc limit 1), 1)`,
  'a claim that is approved or recorded as approved, and not both': `select id from device_claims
    where (approved_by is not null) <> exists (select 1 from audit_events
      where action = 'claim.approved' and json_extract(after, '$.claim_id') = device_claims.id)`,
  'a claim that is spent or recorded as spent, and not both': `select id from device_claims c
    where (redeemed_at is not null) <> exists (select 1 from audit_events
      where action = 'device.created' and key_id = c.key_id
      and json_extract(after, '$.claim_id') = c.id)`,
}

/** Reads a copy: opening a database after a kill repairs it, and that is left to workerd. */
export function readKeptRows({ folder, storage }: Deployment): KeptRows {
  const copy = mkdtempSync(join(folder, 'copy-'))
  cpSync(join(storage, 'd1'), copy, { recursive: true })
  const files = globSync(`${copy}/*/*.sqlite`).filter((file) => !file.includes('metadata'))
  const [file] = files
  if (file === undefined || files.length > 1) throw new Error(`${files.length} databases`)
  const database = new DatabaseSync(file)
  try {
    return { records: readRecords(database), damage: findDamage(database) }
  } finally {
    database.close()
  }
}

function readRecords(database: DatabaseSync): Map<string, string[]> {
  const records = new Map<string, string[]>()
  for (const row of database.prepare('select request_id, action from audit_events').all()) {
    // The client's own id is followed by the Worker's.
    const [requestId = ''] = String(row['request_id']).split(' ')
    records.set(requestId, [...(records.get(requestId) ?? []), String(row['action'])])
  }
  return records
}

function findDamage(database: DatabaseSync): string[] {
  const halves = Object.entries(HALVES).flatMap(([what, query]) =>
    database
      .prepare(query)
      .all()
      .map((row) => `${what}: ${Object.values(row).join()}`),
  )
  const integrity = database.prepare('pragma integrity_check').all()
  const orphans = database.prepare('pragma foreign_key_check').all()
  return [
    ...halves,
    ...integrity.map((row) => String(row['integrity_check'])).filter((line) => line !== 'ok'),
    ...orphans.map((row) => `a row without its parent: ${JSON.stringify(row)}`),
  ]
}

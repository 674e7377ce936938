import { env } from 'cloudflare:workers'

export type Row = Record<string, unknown>

/** The rows that a query finds in the tests' own database, past the application. */
export async function rowsOf(query: string, ...values: readonly unknown[]): Promise<Row[]> {
  const { results } = await env.DB.prepare(query)
    .bind(...values)
    .all()
  return results
}

/** Changes the tests' own database, past the application. */
export async function execute(query: string, ...values: readonly unknown[]): Promise<void> {
  await env.DB.prepare(query)
    .bind(...values)
    .run()
}

/** How many rows of a table fit a condition. */
export async function countRows(
  table: string,
  condition: string,
  ...values: readonly unknown[]
): Promise<number> {
  const [row] = await rowsOf(`select count(*) as n from ${table} where ${condition}`, ...values)
  return Number(row?.['n'])
}

export type AuditRow = {
  readonly action: string
  readonly actorId: unknown
  readonly deviceId: unknown
  readonly keyId: unknown
  /** The changed fields, parsed. */
  readonly before: unknown
  readonly after: unknown
}

/** The user's audit events, oldest first. */
export async function auditOf(userId: string): Promise<AuditRow[]> {
  const rows = await rowsOf(
    'select * from audit_events where user_id = ? order by at, rowid',
    userId,
  )
  return rows.map((row) => ({
    action: String(row['action']),
    actorId: row['actor_id'],
    deviceId: row['device_id'],
    keyId: row['key_id'],
    before: parsed(row['before']),
    after: parsed(row['after']),
  }))
}

function parsed(text: unknown): unknown {
  return typeof text === 'string' ? JSON.parse(text) : null
}

/** Every row of every table, as one text: equal before and after what may change nothing. */
export async function dumpDatabase(): Promise<string> {
  const tables = await rowsOf(
    `select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\'
       and name not like 'sqlite\\_%' escape '\\' and name <> 'd1_migrations' order by name`,
  )
  const dumps = await Promise.all(
    tables.map(async ({ name }) => [name, await rowsOf(`select * from ${String(name)}`)]),
  )
  return JSON.stringify(dumps)
}

/** The rows of every table. */
export type Tables = ReadonlyMap<string, readonly Row[]>

export async function readTables(): Promise<Tables> {
  const dump: [string, Row[]][] = JSON.parse(await dumpDatabase())
  return new Map(dump)
}

/**
 * What has come and gone between two readings, a line for each row, without what differs from call
 * to call: ids, times, hashes, hints.
 */
export function changesBetween(before: Tables, after: Tables): string[] {
  const [had, has] = [linesOf(before), linesOf(after)]
  const come = [...has].filter((line) => !had.has(line)).map((line) => `+ ${line}`)
  const gone = [...had].filter((line) => !has.has(line)).map((line) => `- ${line}`)
  return come.concat(gone).map(withoutOccurrence).toSorted()
}

function linesOf(tables: Tables): Set<string> {
  const lines = [...tables].flatMap(([table, rows]) =>
    rows.map((row) => `${table} ${JSON.stringify(row)}`),
  )
  return new Set(lines)
}

function withoutOccurrence(line: string): string {
  return line
    .replaceAll(/(user|sess|dev|key|evt|claim)[_-][0-9a-z]{26}/g, '$1')
    .replaceAll(/\b1\d{12}\b/g, 'time')
    .replaceAll(/lk_\w{6}…/g, 'hint')
    .replaceAll(/\b10\.\d+\.\d+\.\d+\b/g, 'address')
    .replaceAll(/"seq":\d+/g, '"seq"')
    .replaceAll(/"(ip|request_id|sealed|id|body_hash)":"[^"]*"/g, '"$1"')
    .replaceAll(/\$(scrypt|pbkdf2)[^"]*/g, 'password hash')
    .replaceAll(/[A-Za-z0-9_-]{43}/g, 'hash')
}

// `npm run admin:create -- <username> [--remote] [--pbkdf2] [--persist-to <directory>]`: makes an
// account of role admin, in the local database unless told otherwise.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { newId } from '../src/crypto/ids.ts'
import { hashPassword, type PasswordAlgorithm } from '../src/crypto/password.ts'
import { usernameKey } from '../src/domain/names.ts'
import { containsUsername } from '../src/domain/password-policy.ts'
import { CONTAINS_USERNAME, registration } from '../src/schemas/users.ts'
import { askPasswordTwice } from './ask-password.ts'
import { fail, process, runTool, type ToolRun } from './tools.ts'

const USAGE =
  'usage: npm run admin:create -- <username> [--remote] [--pbkdf2] [--persist-to <directory>]'

const { username: requested, algorithm, database } = readArguments()
const username = accept('username', requested)
const password = accept('password', await readPassword())
if (containsUsername(password, username)) fail(`password ${CONTAINS_USERNAME}`)
const id = newId('user')
const inserted = executeFile(insertAdmin(id, username, hashPassword(password, algorithm)))
if (!inserted.succeeded) {
  fail(
    `${inserted.output}\n\nno account was made: are the migrations applied (npm run db:migrate)?`,
  )
}
// A file's import into a remote database answers with counts only: look whether the row is there.
const found = execute('--command', `SELECT id FROM users WHERE id = ${text(id)}`)
if (!found.succeeded) fail(found.output)
if (!found.stdout.includes(id)) fail(`the username ${username} is taken`)
console.log(`made admin ${username}`)

function readArguments(): {
  username: string
  algorithm: PasswordAlgorithm
  database: string[]
} {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        remote: { type: 'boolean' },
        pbkdf2: { type: 'boolean' },
        'persist-to': { type: 'string' },
      },
    })
    const [username, ...others] = positionals
    if (username === undefined || others.length > 0) return fail(USAGE)
    const database = [values.remote ? '--remote' : '--local']
    const directory = values['persist-to']
    if (directory !== undefined) database.push('--persist-to', directory)
    return { username, algorithm: values.pbkdf2 ? 'pbkdf2' : 'scrypt', database }
  } catch {
    return fail(USAGE)
  }
}

/** Holds a field to the rules of registration. */
function accept(field: 'username' | 'password', value: string): string {
  const parsed = registration.shape[field].safeParse(value)
  return parsed.success ? parsed.data : fail(`${field} ${parsed.error.issues[0]?.message}`)
}

async function readPassword(): Promise<string> {
  const { LATCHKEY_PASSWORD: set } = process.env
  // No child process needs it.
  delete process.env['LATCHKEY_PASSWORD']
  if (set !== undefined) return set
  if (!process.stdin.isTTY) return fail('set LATCHKEY_PASSWORD, or run this at a terminal')
  return await askPasswordTwice()
}

/**
 * The account and its audit event, the latter only where the account came to be. What the Worker
 * noted of the stored hashes may not be true of this one.
 */
function insertAdmin(id: string, username: string, passwordHash: string): string {
  const now = Date.now()
  const after = JSON.stringify({ username, role: 'admin' })
  const user = [id, username, usernameKey(username), passwordHash, 'admin'].map(text)
  const event = [newId('evt'), id, 'user.created', 'system', after].map(text)
  return `
INSERT INTO users (id, username, username_key, password_hash, role, created_at)
  VALUES (${user.join(', ')}, ${now}) ON CONFLICT DO NOTHING;
INSERT INTO audit_events (id, user_id, action, actor_type, after, at)
  SELECT ${event.join(', ')}, ${now} WHERE EXISTS (SELECT 1 FROM users WHERE id = ${text(id)});
DELETE FROM meta WHERE name = 'password_hashes';
`
}

/** An SQL literal that no content can break out of. */
function text(value: string): string {
  return `CAST(X'${Buffer.from(value).toString('hex')}' AS TEXT)`
}

/** Executes statements as one batch from a file: other users of the machine may read argv. */
function executeFile(sql: string): ToolRun {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-admin-'))
  const file = join(folder, 'admin.sql')
  try {
    writeFileSync(file, sql, { mode: 0o600 })
    return execute('--file', file)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function execute(kind: '--file' | '--command', sql: string): ToolRun {
  return runTool('wrangler', ['d1', 'execute', 'DB', ...database, kind, sql])
}

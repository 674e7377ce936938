import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { unstable_readConfig as readConfig } from 'wrangler'
import * as z from 'zod'
import { process } from '../../scripts/tools.ts'
import { verifyPassword } from '../../src/crypto/password.ts'
import { loadSettings } from '../../src/settings.ts'
import { filesWith, leaksInto } from './support/byte-search.ts'
import { makeCheckout, type Run, run, runScript } from './support/checkout.ts'

const PASSWORD = `correct ${randomBytes(16).toString('hex')}`
/** Nothing but a name, unless it reaches an SQL parser or a shell as it is. */
const HOSTILE_USERNAME = 'o\'hara-"x";--$(touch${IFS}touched)`touch${IFS}touched`'

const query = z.tuple([z.object({ results: z.array(z.record(z.string(), z.unknown())) })])

let checkout: string
/** Where the database of these tests is. */
let state: string

beforeAll(async () => {
  checkout = await makeCheckout()
  state = join(checkout, 'state')
})

afterAll(() => {
  rmSync(checkout, { recursive: true, force: true, maxRetries: 3 })
})

describe('db:status', () => {
  it('lists the migrations that are to come', async () => {
    const status = await npmRun('db:status')
    expect(status.code).toBe(0)
    const migrations = readdirSync(join(checkout, 'drizzle')).filter((file) =>
      file.endsWith('.sql'),
    )
    expect(migrations.filter((file) => !status.stdout.includes(file))).toEqual([])
  })
})

describe('admin:create', () => {
  it('says that the migrations are missing where they are', async () => {
    const refused = await createAdmin('ada')
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain('npm run db:migrate')
    expect(await npmRun('db:migrate')).toMatchObject({ code: 0 })
  })

  it('makes an account, and takes back what was noted of all stored hashes', async () => {
    await executeSql("INSERT INTO meta (name, value) VALUES ('password_hashes', 'only')")
    expect(await createAdmin('Ada')).toEqual({ code: 0, stdout: 'made admin Ada\n', stderr: '' })
    expect(await executeSql("SELECT * FROM meta WHERE name = 'password_hashes'")).toEqual([])
  })

  it('refuses a taken username, in whatever case', async () => {
    const stderr = 'the username aDA is taken\n'
    const refused = await createAdmin('aDA', 'another password of another')
    expect(refused).toEqual({ code: 1, stdout: '', stderr })
  })

  it.each([
    ['a short password', 'password must be 8 to 128 characters', 'grace', 'seven77'],
    ['an empty password', 'password must be 8 to 128 characters', 'grace', ''],
    ['a long password', 'password must be 8 to 128 characters', 'grace', 'x'.repeat(129)],
    ['a common password', 'password must not be one that many people use', 'grace', 'iloveyou2'],
    ['the username in it', 'password must not contain the username', 'grace', 'I am Grace Hopper'],
    ['a short username', 'username must be 3 to 64 characters', 'ab', PASSWORD],
    ['a long username', 'username must be 3 to 64 characters', 'x'.repeat(65), PASSWORD],
    ['a space in a username', 'username must be 3 to 64 characters', 'grace hopper', PASSWORD],
    ['a bidi override', 'username must be 3 to 64 characters', 'grace\u202Ecarg', PASSWORD],
  ])('refuses %s', async (_what, message, username, password) => {
    const refused = await createAdmin(username, password)
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain(message)
  })

  it('takes a hostile username for nothing but a name', async () => {
    const stdout = `made admin ${HOSTILE_USERNAME}\n`
    expect(await createAdmin(HOSTILE_USERNAME)).toEqual({ code: 0, stdout, stderr: '' })
    expect(existsSync(join(checkout, 'touched'))).toBe(false)
  })

  it('asks for LATCHKEY_PASSWORD where there is no terminal to ask at', async () => {
    const refused = await runScript(checkout, 'admin-create.ts', ['grace', '--persist-to', state])
    const stderr = 'set LATCHKEY_PASSWORD, or run this at a terminal\n'
    expect(refused).toEqual({ code: 1, stdout: '', stderr })
  })

  it.each([[[]], [['one', 'two']], [['ada', '--locale']]])(
    'tells how it is used when its arguments are %j',
    async (args) => {
      const refused = await runScript(checkout, 'admin-create.ts', args)
      expect(refused).toMatchObject({ code: 1, stdout: '' })
      expect(refused.stderr).toContain('usage: npm run admin:create -- <username>')
    },
  )

  it('has made these two accounts of role admin, each on record, and nothing else', async () => {
    const accounts = await readAccounts()
    const event = { action: 'user.created', actor_type: 'system' }
    expect(accounts).toMatchObject([
      { username: 'Ada', username_key: 'ada', role: 'admin', disabled_at: null, ...event },
      {
        username: HOSTILE_USERNAME,
        username_key: HOSTILE_USERNAME.toLowerCase(),
        role: 'admin',
        disabled_at: null,
        ...event,
      },
    ])
    for (const { password_hash: stored } of accounts) {
      expect(verifyPassword(PASSWORD, String(stored))).toBe(true)
    }
  })

  it('leaves the password in no file', () => {
    expect(filesWith(state, HOSTILE_USERNAME)).not.toEqual([])
    const logs = join(checkout, '.config')
    const searched = [state, ...(existsSync(logs) ? [logs] : [])]
    expect(leaksInto(searched, new Map([['password', PASSWORD]]))).toEqual([])
  })
})

describe('secrets', () => {
  it('prints two lines that the Worker accepts, other ones each time', async () => {
    const [first, second] = [await runSecrets(), await runSecrets()]
    for (const secrets of [first, second]) {
      const { vars } = readConfig({ config: join(checkout, 'wrangler.toml') })
      const env: unknown = { ...vars, PUBLIC_URL: 'https://latchkey.example', ...secrets }
      if (!isEnv(env)) throw new Error('no environment')
      const { signingKeys, checkSecrets } = loadSettings(env)
      expect([signingKeys.length, checkSecrets.length]).toEqual([1, 1])
    }
    expect(signingKeyOf(first)).not.toBe(signingKeyOf(second))
    expect(first['KEY_CHECK_SECRETS']).not.toBe(second['KEY_CHECK_SECRETS'])
  })
})

describe('db:check', () => {
  it('passes as it is', async () => {
    expect(await runScript(checkout, 'check-migrations.ts')).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    })
  })

  it.each([
    [
      'a column was added',
      "  role: text('role'",
      "  nickname: text('nickname'),\n  role: text('role'",
    ],
    // drizzle-kit asks whether that is a new column, and nobody is there to answer.
    ['a column was renamed', "text('role'", "text('rank'"],
  ])('fails where %s in src/db/schema.ts', async (_change, from, to) => {
    const file = join(checkout, 'src/db/schema.ts')
    const schema = readFileSync(file, 'utf8')
    expect(schema).toContain(from)
    writeFileSync(file, schema.replace(from, to))
    const failed = await runScript(checkout, 'check-migrations.ts')
    writeFileSync(file, schema)
    expect(failed.code).toBe(1)
    expect(failed.stderr).toContain('npm run db:generate')
  })
})

/** Runs it without a terminal; whatever comes of it, it must not print the password. */
async function createAdmin(username: string, password = PASSWORD): Promise<Run> {
  const args = [username, '--persist-to', state]
  const ran = await runScript(checkout, 'admin-create.ts', args, { LATCHKEY_PASSWORD: password })
  if (password !== '') expect(ran.stdout + ran.stderr).not.toContain(password)
  return ran
}

/** Runs one of the package's own scripts on the database of these tests. */
async function npmRun(script: string): Promise<Run> {
  const args = ['run', script, '--', '--persist-to', state]
  return await run(checkout, 'npm', args, { CI: 'true' })
}

/** Every account with each of its audit events, and each event without an account. */
async function readAccounts() {
  return await executeSql(
    'SELECT * FROM users FULL JOIN audit_events ON user_id = users.id ORDER BY created_at',
  )
}

/** Executes a statement on the database of these tests, past the scripts. */
async function executeSql(sql: string) {
  const execute = ['d1', 'execute', 'DB', '--local', '--persist-to', state, '--json']
  const wrangler = join(checkout, 'node_modules/wrangler/bin/wrangler.js')
  const read = await run(checkout, process.execPath, [wrangler, ...execute, '--command', sql])
  return query.parse(JSON.parse(read.stdout))[0].results
}

async function runSecrets() {
  const { code, stdout, stderr } = await runScript(checkout, 'secrets.ts')
  expect(code).toBe(0)
  expect(stdout.split('\n').map((line) => line.replace(/=.*/, ''))).toEqual([
    'SIGNING_KEYS',
    'KEY_CHECK_SECRETS',
    '',
  ])
  const values = parseEnv(stdout)
  for (const value of Object.values(values)) expect(stderr).not.toContain(value)
  return values
}

function signingKeyOf(values: NodeJS.Dict<string>): string | undefined {
  const ring = z.object({ keys: z.array(z.object({ d: z.string() })) })
  return ring.parse(JSON.parse(values['SIGNING_KEYS'] ?? '')).keys[0]?.d
}

/** The settings are read from variables and secrets alone. */
function isEnv(value: unknown): value is Env {
  return typeof value === 'object' && value !== null && 'SIGNING_KEYS' in value
}

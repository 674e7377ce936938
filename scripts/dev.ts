// `npm run dev`: Latchkey on this machine. Options after `--` reach `wrangler dev`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { parseArgs, parseEnv } from 'node:util'
import { makeSecretLines } from './fresh-secrets.ts'
import { fail, process, runTool, toolCommand } from './tools.ts'

const DEFAULT_PORT = 8787
const PARENT_POLL_MS = 500

const given = process.argv.slice(2)
const { values } = parseArgs({
  args: given,
  strict: false,
  options: { port: { type: 'string' }, 'persist-to': { type: 'string' } },
})

makeDevVars()
migrateDatabase(values['persist-to'])
const chosen: string[] = []
const port = typeof values.port === 'string' ? values.port : await findFreePort(DEFAULT_PORT)
if (values.port === undefined) chosen.push('--port', `${port}`)
if (!isPublicUrlGiven()) chosen.push('--var', `PUBLIC_URL:http://localhost:${port}`)
startServer([...given, ...chosen])

/** Makes .dev.vars where there is none. What it does not set has wrangler.toml's default. */
function makeDevVars(): void {
  if (existsSync('.dev.vars')) return
  writeFileSync('.dev.vars', `${makeSecretLines()}REGISTRATION=open\n`, { mode: 0o600, flag: 'wx' })
}

function migrateDatabase(directory: unknown): void {
  const persistence = typeof directory === 'string' ? ['--persist-to', directory] : []
  // CI keeps wrangler from asking whether it may.
  const args = ['d1', 'migrations', 'apply', 'DB', '--local', ...persistence]
  const { succeeded, output } = runTool('wrangler', args, { CI: 'true' })
  if (!succeeded) fail(`${output}\n\nthe migrations could not be applied to the local database`)
}

async function findFreePort(from: number): Promise<number> {
  let port = from
  while (!(await isFree(port))) port += 1
  return port
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** A tunnel or a proxy has another URL than ours: --var beats .dev.vars, so leave it alone there. */
function isPublicUrlGiven(): boolean {
  if (given.some((argument) => /^(--var=)?PUBLIC_URL:/.test(argument))) return true
  return 'PUBLIC_URL' in parseEnv(readFileSync('.dev.vars', 'utf8'))
}

/** Runs `wrangler dev` until one of the two is told to end, and ends as it does. */
function startServer(args: readonly string[]): void {
  const server = spawn(...toolCommand('wrangler', ['dev', ...args]), {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  // wrangler's one message is that it answers requests.
  server.once('message', () => console.log(`Latchkey listens on http://localhost:${port}`))
  server.on('exit', (code) => process.exit(code ?? 1))
  const forward = (signal: NodeJS.Signals) => server.kill(signal)
  process.on('SIGINT', forward)
  process.on('SIGTERM', forward)
  // npm hands a SIGTERM on to its shell only, whose end is all that we see of it.
  const { ppid } = process
  setInterval(() => process.ppid === ppid || forward('SIGTERM'), PARENT_POLL_MS)
}

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { process } from '../../../scripts/tools.ts'
import { findFreePort } from './dev-server.ts'

const DOCS = join(import.meta.dirname, '../../../docs/forward-auth')
/** nginx is where only root's shells look. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` }
const START_MS = 20_000
const POLL_MS = 50

/** Where a proxy finds what it stands between; the names are those that the documents use. */
export type Surroundings = {
  /** `host:port` of Latchkey, over plain HTTP. */
  readonly latchkey: string
  /** `host:port` of the API that is guarded. */
  readonly api: string
}

export type Proxy = { readonly port: number; readonly stop: () => Promise<void> }

export type ProxyKind = {
  readonly name: 'nginx' | 'caddy'
  readonly isInstalled: boolean
  readonly install: string
  readonly start: (surroundings: Surroundings) => Promise<Proxy>
}

export const PROXIES: readonly ProxyKind[] = [
  kindOf('nginx', ['-v'], startNginx),
  kindOf('caddy', ['version'], startCaddy),
]

function kindOf(
  name: ProxyKind['name'],
  versionArgs: readonly string[],
  start: ProxyKind['start'],
): ProxyKind {
  const isInstalled = spawnSync(name, versionArgs, { env: ENVIRONMENT }).status === 0
  return { name, isInstalled, install: `apt-get install --yes ${name}`, start }
}

async function startNginx({ latchkey, api }: Surroundings): Promise<Proxy> {
  const port = await findFreePort()
  const folder = makeFolder()
  const site = adapt('nginx.conf', [
    ['listen 80;', `listen 127.0.0.1:${port};`],
    ['server keys.example.com:443;', `server ${latchkey};`],
    ['https://latchkey/', 'http://latchkey/'],
    ['server 127.0.0.1:3000;', `server ${api};`],
  ])
  writeFileSync(join(folder, 'site.conf'), site)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  // What Debian's /etc/nginx/nginx.conf is around a site, in a folder of its own.
  const main = `
    daemon off;
    pid ${folder}/nginx.pid;
    error_log stderr warn;
    events {}
    http {
      access_log off;
      ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n')}
      include ${folder}/site.conf;
    }`
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, main)
  return await startProxy('nginx', ['-c', file, '-p', folder, '-e', 'stderr'], port, folder)
}

async function startCaddy({ latchkey, api }: Surroundings): Promise<Proxy> {
  const port = await findFreePort()
  const folder = makeFolder()
  const site = adapt('Caddyfile', [
    ['\napi.example.com {', `\nhttp://127.0.0.1:${port} {`],
    ['https://keys.example.com {', `http://${latchkey} {`],
    ['reverse_proxy 127.0.0.1:3000', `reverse_proxy ${api}`],
  ])
  const file = join(folder, 'Caddyfile')
  // Without the API, which has a fixed port.
  writeFileSync(file, `{\n\tadmin off\n}\n${site}`)
  const args = ['run', '--config', file, '--adapter', 'caddyfile']
  return await startProxy('caddy', args, port, folder)
}

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-proxy-'))
  // nginx's workers are another user's where its master is root's.
  chmodSync(folder, 0o755)
  return folder
}

/** The document with its addresses replaced, each of which must be there, and nothing else. */
function adapt(document: string, replacements: readonly (readonly [string, string])[]): string {
  let text = readFileSync(join(DOCS, document), 'utf8')
  for (const [from, to] of replacements) {
    if (text.split(from).length !== 2) throw new Error(`${document} has not one ${from}`)
    text = text.replace(from, to)
  }
  return text
}

async function startProxy(
  command: string,
  args: readonly string[],
  port: number,
  folder: string,
): Promise<Proxy> {
  // Where Caddy keeps what it does not want to ask for again.
  const environment = { ...ENVIRONMENT, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const child = spawn(command, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  child.on('error', (error) => (said += error.message))
  const stop = async () => {
    await end(child)
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
  const deadline = Date.now() + START_MS
  while (!(await isListening(port))) {
    if (child.pid === undefined || child.exitCode !== null || Date.now() > deadline) {
      await stop()
      throw new Error(`${command} did not start:\n${said}`)
    }
    await sleep(POLL_MS)
  }
  return { port, stop }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return await new Promise((resolve) => {
    const answer = (isOpen: boolean) => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', () => answer(true)).once('error', () => answer(false))
  })
}

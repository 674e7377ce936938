import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type ClientHttp2Session, connect as startSession } from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { caddy } from '../../../scripts/forward-auth/caddy.ts'
import { haproxy, haproxyLua } from '../../../scripts/forward-auth/haproxy.ts'
import { nginx } from '../../../scripts/forward-auth/nginx.ts'
import type { Options } from '../../../scripts/forward-auth/options.ts'
import { process } from '../../../scripts/tools.ts'
import { findFreePort } from './dev-server.ts'

const HOST = 'api.example.com'
/** nginx and HAProxy are where only root's shells look. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` }
const START_MS = 20_000
const POLL_MS = 50

/** Where a proxy finds what it stands between, and what its file is written for. */
export type Surroundings = {
  /** `host:port` of Latchkey, over plain HTTP. */
  readonly latchkey: string
  /** `host:port` of the API that is guarded. */
  readonly api: string
  /** Unless said: everyone's devices, PUBLIC_URL as audience, preflights unasked. */
  readonly options?: Partial<Options>
  /** What else is replaced in its file, each by what follows it. */
  readonly replacements?: Replacements
}

type Replacements = readonly (readonly [string, string])[]

export type Proxy = {
  /** For HTTP/1.1. */
  readonly port: number
  readonly connectHttp2: () => Promise<ClientHttp2Session>
  readonly stop: () => Promise<void>
}

export type ProxyKind = {
  readonly name: 'nginx' | 'caddy' | 'haproxy'
  readonly isInstalled: boolean
  readonly install: string
  /** Whether the API gets trailers, as trailers: HAProxy before 3.2 cannot drop them. */
  readonly passesTrailers: boolean
  readonly start: (surroundings: Surroundings) => Promise<Proxy>
}

export const PROXIES: readonly ProxyKind[] = [
  kindOf('nginx', ['-v'], startNginx),
  kindOf('caddy', ['version'], startCaddy),
  kindOf('haproxy', ['-v'], startHaproxy),
]

function kindOf(
  name: ProxyKind['name'],
  versionArgs: readonly string[],
  start: ProxyKind['start'],
): ProxyKind {
  const isInstalled = spawnSync(name, versionArgs, { env: ENVIRONMENT }).status === 0
  const install = `apt-get install --yes ${name}`
  return { name, isInstalled, install, passesTrailers: name === 'haproxy', start }
}

function optionsFor({ latchkey, api, options }: Surroundings): Options {
  return {
    owner: 'any',
    scopes: ['telemetry:write'],
    audience: undefined,
    latchkey: new URL(`http://${latchkey}`),
    api,
    host: HOST,
    hasPreflights: true,
    ...options,
  }
}

async function startNginx(surroundings: Surroundings): Promise<Proxy> {
  const [port, http2Port] = [await findFreePort(), await findFreePort()]
  const folder = makeFolder()
  const site = adapt(nginx(optionsFor(surroundings)), [
    ['listen 443 ssl http2;', `listen 127.0.0.1:${port}; listen 127.0.0.1:${http2Port} http2;`],
    [`ssl_certificate     /etc/ssl/certs/${HOST}.pem;`, ''],
    [`ssl_certificate_key /etc/ssl/private/${HOST}.key;`, ''],
    ...(surroundings.replacements ?? []),
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
  const args = ['-c', file, '-p', folder, '-e', 'stderr']
  const stop = await startProxy('nginx', args, port, folder)
  // Without TLS, which needs a certificate: with prior knowledge (RFC 9113 §3.3).
  const connectHttp2 = async () => await openHttp2(`http://127.0.0.1:${http2Port}`)
  return { port, connectHttp2, stop }
}

async function startCaddy(surroundings: Surroundings): Promise<Proxy> {
  const [port, tlsPort] = [await findFreePort(), await findFreePort()]
  const folder = makeFolder()
  const site = adapt(caddy(optionsFor(surroundings)), [
    [`\n${HOST} {`, `\nhttp://:${port}, https://localhost:${tlsPort} {`],
    ...(surroundings.replacements ?? []),
  ])
  const file = join(folder, 'Caddyfile')
  // Without what has a fixed port; and its own authority remains unknown to this machine.
  const options =
    'admin off\n auto_https disable_redirects\n skip_install_trust\n default_bind 127.0.0.1'
  writeFileSync(file, `{\n${options}\n}\n${site}`)
  const args = ['run', '--config', file, '--adapter', 'caddyfile']
  const stop = await startProxy('caddy', args, port, folder)
  const connectHttp2 = async () => {
    const ca = readFileSync(join(folder, 'caddy/pki/authorities/local/root.crt'))
    return await openHttp2(`https://localhost:${tlsPort}`, ca)
  }
  return { port, connectHttp2, stop }
}

async function startHaproxy(surroundings: Surroundings): Promise<Proxy> {
  const port = await findFreePort()
  const folder = makeFolder()
  const lua = join(folder, 'latchkey.lua')
  writeFileSync(lua, haproxyLua())
  const site = adapt(haproxy(optionsFor(surroundings)), [
    ['lua-load /etc/haproxy/latchkey.lua', `lua-load ${lua}`],
    [`bind :443 ssl crt /etc/ssl/private/${HOST}.pem alpn h2,http/1.1`, `bind 127.0.0.1:${port}`],
    ...(surroundings.replacements ?? []),
  ])
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(file, site)
  const stop = await startProxy('haproxy', ['-db', '-f', file], port, folder)
  const connectHttp2 = async () => await openHttp2(`http://127.0.0.1:${port}`)
  return { port, connectHttp2, stop }
}

export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-proxy-'))
  // nginx's workers are another user's where its master is root's.
  chmodSync(folder, 0o755)
  return folder
}

/** The file with what listens replaced, each of which must be there, and nothing else. */
function adapt(file: string, replacements: Replacements): string {
  let text = file
  for (const [from, to] of replacements) {
    if (text.split(from).length !== 2) throw new Error(`the file has not one ${from}`)
    text = text.replace(from, to)
  }
  return text
}

/** @returns what stops it and removes its folder */
export async function startProxy(
  command: string,
  args: readonly string[],
  port: number,
  folder: string,
): Promise<() => Promise<void>> {
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
  return stop
}

async function openHttp2(origin: string, ca?: Buffer): Promise<ClientHttp2Session> {
  const session = startSession(origin, ca === undefined ? {} : { ca })
  await once(session, 'connect')
  // The streams fail with it.
  session.on('error', () => session.destroy())
  return session
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

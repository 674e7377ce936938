import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { process } from '../../../scripts/tools.ts'
import { userEnvironment } from './checkout.ts'
import { familyOf, type ProcessEntry, survivorsOf } from './processes.ts'

const START_MS = 90_000
const STOP_MS = 15_000
const POLL_MS = 50

/** `npm run dev`, as it runs in a checkout. */
export type DevServer = {
  readonly url: string
  readonly npm: ChildProcess
  /** npm's pid, which is also the id of the process group. */
  readonly leader: number
  /** What it said so far, on both streams. */
  readonly output: () => string
}

/** Those that were started and not found to have ended: the pids of others may be anyone's. */
const running = new Set<DevServer>()

export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Runs `npm run dev -- --port <port>` and returns once it says that it listens. */
export async function startDevServer(checkout: string, port: number): Promise<DevServer> {
  const npm = spawn('npm', ['run', 'dev', '--', '--port', String(port)], {
    cwd: checkout,
    env: userEnvironment(checkout),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, as at a terminal.
    detached: true,
  })
  const leader = npm.pid
  if (leader === undefined) throw new Error('npm could not be started')
  let said = ''
  npm.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  npm.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const server = { url: `http://localhost:${port}`, npm, leader, output: () => said }

  running.add(server)
  const deadline = Date.now() + START_MS
  while (!said.includes(`Latchkey listens on ${server.url}\n`)) {
    if (npm.exitCode !== null || Date.now() > deadline) {
      throw new Error(`npm run dev did not start:\n${said}`)
    }
    await sleep(POLL_MS)
  }
  return server
}

/** Which processes the server consists of. */
export function processesOf(server: DevServer): ProcessEntry[] {
  return familyOf(server.leader)
}

/**
 * Sends npm a signal, or its whole group as Ctrl-C does, and waits.
 * @returns what is left of it after some seconds
 */
export async function stopDevServer(
  server: DevServer,
  signal: 'SIGTERM' | 'Ctrl-C',
): Promise<ProcessEntry[]> {
  const known = processesOf(server)
  if (signal === 'SIGTERM') process.kill(server.leader, 'SIGTERM')
  else process.kill(-server.leader, 'SIGINT')
  const deadline = Date.now() + STOP_MS
  let left = survivorsOf(server.leader, known)
  while (left.length > 0 && Date.now() < deadline) {
    await sleep(POLL_MS)
    left = survivorsOf(server.leader, known)
  }
  if (left.length === 0) running.delete(server)
  return left
}

/** Ends whatever tests that failed have left of their servers. */
export function killDevServers(): void {
  for (const { leader } of running) {
    for (const { pid } of familyOf(leader)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended meanwhile.
      }
    }
  }
}

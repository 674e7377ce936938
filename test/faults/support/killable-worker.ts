import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEnv } from 'node:util'
import { unstable_readConfig as readConfig } from 'wrangler'
import * as z from 'zod'
import { makeSecretLines } from '../../../scripts/fresh-secrets.ts'
import { process, runTool } from '../../../scripts/tools.ts'
import { familyOf, survivorsOf } from '../../conformance/support/processes.ts'

const ROOT = join(import.meta.dirname, '../../..')
const PROGRAM = join(import.meta.dirname, 'worker-process.ts')
const START_MS = 60_000
const END_MS = 10_000
const POLL_MS = 5
/** So long and so many that a slow machine and a load meet no limit. */
const PATIENT_MS = '30000'
const HIGH_LIMIT = 1_000_000

/** What is read of wrangler.toml. */
const wranglerConfig = z.object({
  name: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  vars: z.record(z.string(), z.string()),
  d1_databases: z.array(z.object({ binding: z.string() })),
  durable_objects: z.object({
    bindings: z.array(z.object({ name: z.string(), class_name: z.string() })),
  }),
  ratelimits: z.array(z.object({ name: z.string(), namespace_id: z.string() })),
})

/** What a Worker is started from, any number of times: its code, its secrets, its storage. */
export type Deployment = {
  readonly folder: string
  readonly storage: string
  readonly optionsFile: string
}

export type RunningWorker = { readonly url: string; readonly kill: () => Promise<void> }

/** Those that were started and not yet killed. */
const running = new Set<ChildProcess>()

/** Builds the Worker as it is deployed, with fresh secrets and empty storage. */
export function makeDeployment(): Deployment {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-kills-'))
  const code = join(folder, 'code')
  const args = ['deploy', join(import.meta.dirname, 'far-worker.ts'), '--dry-run', '--outdir', code]
  const { succeeded, output } = runTool('wrangler', args)
  if (!succeeded) throw new Error(`the Worker could not be built:\n${output}`)
  const storage = join(folder, 'storage')
  mkdirSync(storage)
  const optionsFile = join(folder, 'options.json')
  const options = { ...workerOptions(code), resourcePersistencePath: storage }
  writeFileSync(optionsFile, JSON.stringify(options))
  return { folder, storage, optionsFile }
}

/** wrangler.toml in Miniflare's words. */
function workerOptions(code: string) {
  const config = wranglerConfig.parse(readConfig({ config: join(ROOT, 'wrangler.toml') }))
  const classes = config.durable_objects.bindings.map(
    ({ name, class_name: className }) => [name, { className, useSQLite: true }] as const,
  )
  const limiters = config.ratelimits.map(
    ({ name, namespace_id }) =>
      [name, { namespace_id, simple: { limit: HIGH_LIMIT, period: 60 } }] as const,
  )
  return {
    name: config.name,
    modules: [{ type: 'ESModule', path: join(code, 'far-worker.js') }],
    modulesRoot: code,
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    bindings: {
      ...config.vars,
      PUBLIC_URL: 'http://localhost',
      REGISTRATION: 'open',
      D1_TIMEOUT_MS: PATIENT_MS,
      METER_TIMEOUT_MS: PATIENT_MS,
      ...parseEnv(makeSecretLines()),
    },
    d1Databases: config.d1_databases.map(({ binding }) => binding),
    durableObjects: Object.fromEntries(classes),
    ratelimits: Object.fromEntries(limiters),
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    cf: false,
    telemetry: { enabled: false },
  }
}

/** Starts a deployment, on whatever its storage holds. The first start makes the tables. */
export async function startWorker(
  { folder, optionsFile }: Deployment,
  start: 'first' | 'again',
): Promise<RunningWorker> {
  const migrations = start === 'first' ? [join(ROOT, 'drizzle')] : []
  const child = spawn(process.execPath, [PROGRAM, optionsFile, ...migrations], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // Who is killed leaves temporary files behind.
    env: { ...process.env, TMPDIR: folder },
    // A process group of its own: Node and, as its child, workerd.
    detached: true,
  })
  running.add(child)
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const deadline = Date.now() + START_MS
  for (;;) {
    const url = /^listens on (\S+)$/m.exec(said)?.[1]
    if (url !== undefined) return { url, kill: killerOf(child) }
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`the Worker did not start:\n${said}`)
    }
    await sleep(POLL_MS)
  }
}

/** What kills a Worker's whole group at once, and returns when none of it is left. */
function killerOf(child: ChildProcess): () => Promise<void> {
  const leader = child.pid
  // Listing processes takes longer than an operation: it is over before the kill.
  const family = leader === undefined ? [] : familyOf(leader)
  if (leader === undefined || !family.some(({ name }) => name.includes('workerd'))) {
    throw new Error('the Worker runs without workerd')
  }
  return async () => {
    process.kill(-leader, 'SIGKILL')
    const deadline = Date.now() + END_MS
    while (survivorsOf(leader, family).length > 0) {
      if (Date.now() > deadline) throw new Error('the Worker survived SIGKILL')
      await sleep(POLL_MS)
    }
    running.delete(child)
  }
}

/** Ends what still runs, and deletes the deployment. */
export function removeDeployment({ folder }: Deployment): void {
  for (const { pid } of running) {
    if (pid !== undefined) endGroup(pid)
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
}

function endGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}

import { spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { process } from '../../../scripts/tools.ts'

const ROOT = join(import.meta.dirname, '../../..')

export type Run = {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Copies the working tree, without what git ignores, to a new directory: a fresh clone with edits. */
export async function makeCheckout(): Promise<string> {
  const checkout = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-checkout-')))
  const listed = await run(ROOT, 'git', ['ls-files', '-co', '--exclude-standard', '-z'])
  if (listed.code !== 0) throw new Error(`git ls-files: ${listed.stderr}`)
  for (const file of new Set(listed.stdout.split('\0'))) {
    // One that git knows and that was deleted is not there.
    if (file === '' || !existsSync(join(ROOT, file))) continue
    mkdirSync(join(checkout, dirname(file)), { recursive: true })
    copyFileSync(join(ROOT, file), join(checkout, file))
  }
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'))
  return checkout
}

/**
 * What a user's shell would have, and nothing of Vitest's, npm's or CI's. Wrangler's own logs go to
 * a folder of the checkout, where they can be searched.
 */
export function userEnvironment(checkout: string): NodeJS.ProcessEnv {
  const environment = { ...process.env }
  for (const name of Object.keys(environment)) {
    if (!['PATH', 'HOME', 'TMPDIR'].includes(name)) delete environment[name]
  }
  return { ...environment, XDG_CONFIG_HOME: join(checkout, '.config') }
}

/** Runs a command in a checkout to its end, without a terminal. */
export async function run(
  checkout: string,
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  const child = spawn(command, args, {
    cwd: checkout,
    env: { ...userEnvironment(checkout), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  return await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...output }))
  })
}

/** Runs one of the checkout's scripts with this very Node. */
export async function runScript(
  checkout: string,
  script: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  return await run(checkout, process.execPath, [join('scripts', script), ...args], env)
}

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** Node's own, typed: the Workers' types, which all of the project sees, make it `any`. */
export const process: NodeJS.Process = globalThis.process

const ENTRIES = {
  wrangler: 'wrangler/bin/wrangler.js',
  'drizzle-kit': 'drizzle-kit/bin.cjs',
} as const satisfies Record<string, string>

export type Tool = keyof typeof ENTRIES

/**
 * What runs one of the project's own tools: this very Node and the tool's entry, so that it needs
 * neither a shell nor a PATH.
 */
export function toolCommand(tool: Tool, args: readonly string[]): [string, string[]] {
  const entry = join(import.meta.dirname, '../node_modules', ENTRIES[tool])
  return [process.execPath, [entry, ...args]]
}

export type ToolRun = {
  readonly succeeded: boolean
  readonly stdout: string
  /** Everything that it said, for whom has to find out why it failed. */
  readonly output: string
}

/** Runs a tool to its end without a terminal: it can ask nothing, and nothing is shown. */
export function runTool(
  tool: Tool,
  args: readonly string[],
  env: Record<string, string> = {},
): ToolRun {
  const { status, stdout, stderr, error } = spawnSync(...toolCommand(tool, args), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  if (error !== undefined) throw error
  return { succeeded: status === 0, stdout, output: `${stdout}${stderr}`.trim() }
}

/** Ends the script with a message for its user. */
export function fail(message: string): never {
  console.error(message)
  process.exit(1)
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { readD1Migrations } from '@cloudflare/vitest-pool-workers'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler'
import { makeSecretLines } from '../../../scripts/fresh-secrets.ts'
import { runTool } from '../../../scripts/tools.ts'

const ROOT = join(import.meta.dirname, '../../..')
const NAME = 'latchkey'
const HOST = '127.0.0.1'

/** Latchkey on a port of workerd's own. */
export type Workerd = {
  readonly port: number
  readonly origin: string
  readonly stop: () => Promise<void>
}

/**
 * Starts the Worker as it is deployed, over an empty database. No proxy of wrangler's stands between
 * a client and workerd: what is seen, and how long it takes, is the Worker's own doing.
 * @param vars settings that differ from those of wrangler.toml
 */
export async function startWorkerd(vars: Readonly<Record<string, string>> = {}): Promise<Workerd> {
  const bundle = mkdtempSync(join(tmpdir(), 'latchkey-bundle-'))
  const configPath = join(ROOT, 'wrangler.toml')
  const args = ['deploy', '--dry-run', '--config', configPath, '--outdir', bundle]
  const built = runTool('wrangler', args)
  if (!built.succeeded) throw new Error(built.output)

  const config = unstable_readConfig({ config: configPath })
  const { workerOptions } = unstable_getMiniflareWorkerOptions(config)
  const options = convertV4MiniflareOptions({
    ...workerOptions,
    name: NAME,
    rootPath: bundle,
    modules: [{ type: 'ESModule', path: join(bundle, 'index.js') }],
    // Not those of `workerOptions`, which hold a developer's .dev.vars.
    bindings: {
      ...config.vars,
      PUBLIC_URL: 'http://localhost',
      REGISTRATION: 'open',
      ...parseEnv(makeSecretLines()),
      ...vars,
    },
    unsafeDirectSockets: [{ host: HOST, port: 0 }],
  })
  const miniflare = new Miniflare(options)
  const stop = async () => {
    await miniflare.dispose()
    rmSync(bundle, { recursive: true, force: true })
  }
  try {
    const database = await miniflare.getD1Database('DB', NAME)
    for (const { queries } of await readD1Migrations(join(ROOT, 'drizzle'))) {
      await database.batch(queries.map((query) => database.prepare(query)))
    }
    const { port, origin } = await miniflare.unsafeGetDirectURL(NAME)
    return { port: Number(port), origin, stop }
  } catch (thrown) {
    await stop()
    throw thrown
  }
}

import { forgetClaims } from './services/claims.ts'
import { emptyDeletedDevices } from './services/purge.ts'
import { loadSettings } from './settings.ts'

/** What runs every few minutes: see the crons in wrangler.toml. */
export async function runScheduled(env: Env): Promise<void> {
  const { keyStaleSeconds } = loadSettings(env)
  const now = Date.now()
  await forgetClaims(env.DB, now)
  const emptied = await emptyDeletedDevices(env.DB, env.DEVICE_STATE, keyStaleSeconds * 1000, now)
  if (emptied > 0) console.info(JSON.stringify({ event: 'purge', devices: emptied }))
}

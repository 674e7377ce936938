import { forgetClaims } from './services/claims/request-claim.ts'
import { emptyDeletedDevices } from './services/devices/empty-deleted-devices.ts'
import { pruneFeed } from './services/verify/read-feed.ts'
import { loadSettings } from './settings.ts'

/** What runs every few minutes: see the crons in wrangler.toml. */
export async function runScheduled(env: Env): Promise<void> {
  const settings = loadSettings(env)
  const now = Date.now()
  await pruneFeed(env.DB, settings, now)
  await forgetClaims(env.DB, now)
  const emptied = await emptyDeletedDevices(
    env.DB,
    env.DEVICE_STATE,
    settings.keyStaleSeconds * 1000,
    now,
  )
  if (emptied > 0) console.info(JSON.stringify({ event: 'purge', devices: emptied }))
}

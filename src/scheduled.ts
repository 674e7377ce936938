import { thisIsolate } from './isolate/state.ts'
import { forgetHandedOut } from './services/changes/idempotency.ts'
import { pruneFeed } from './services/changes/record-revocation.ts'
import { forgetClaims } from './services/claims/forget-claims.ts'
import { emptyDeletedDevices } from './services/devices/empty-deleted-devices.ts'
import { loadSettings } from './settings.ts'

/** What runs every few minutes: see the crons in wrangler.toml. */
export async function runScheduled(env: Env): Promise<void> {
  const ctx = {
    database: env.DB,
    states: env.DEVICE_STATE,
    settings: loadSettings(env),
    isolate: thisIsolate,
    now: Date.now(),
  }
  await pruneFeed(ctx)
  await forgetClaims(ctx)
  await forgetHandedOut(ctx)
  const emptied = await emptyDeletedDevices(ctx)
  if (emptied > 0) console.info(JSON.stringify({ event: 'purge', devices: emptied }))
}

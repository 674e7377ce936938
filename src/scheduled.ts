import { logFailure } from './http/log.ts'
import { thisIsolate } from './isolate/state.ts'
import { forgetHandedOut } from './services/changes/idempotency.ts'
import { pruneFeed } from './services/changes/record-revocation.ts'
import { forgetClaims } from './services/claims/forget-claims.ts'
import type { VerifyContext } from './services/context.ts'
import { emptyDeletedDevices } from './services/devices/empty-deleted-devices.ts'
import { pruneSessions } from './services/sessions/prune-sessions.ts'
import { loadSettings } from './settings.ts'

/** What runs every few minutes, each alone: see the crons in wrangler.toml. */
const JOBS: Readonly<Record<string, (ctx: VerifyContext) => Promise<void>>> = {
  'prune-feed': pruneFeed,
  'prune-sessions': pruneSessions,
  'forget-claims': forgetClaims,
  'forget-handed-out': forgetHandedOut,
  'empty-devices': async (ctx) => {
    const devices = await emptyDeletedDevices(ctx)
    if (devices > 0) console.info(JSON.stringify({ event: 'purge', devices }))
  },
}

/** Runs every job, whatever becomes of the others. A failure has a line that names its job. */
export async function runScheduled(env: Env): Promise<void> {
  const ctx = {
    database: env.DB,
    states: env.DEVICE_STATE,
    settings: loadSettings(env),
    isolate: thisIsolate,
    now: Date.now(),
  }
  for (const [name, run] of Object.entries(JOBS)) {
    try {
      await run(ctx)
    } catch (failure) {
      logFailure(`cron ${name}`, failure)
    }
  }
}

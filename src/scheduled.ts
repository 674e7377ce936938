import type { SliceDone } from './db/delete-slice.ts'
import { logFailure } from './http/log.ts'
import { MINUTE_MS, SECOND_MS } from './domain/time.ts'
import { thisIsolate } from './isolate/state.ts'
import { forgetHandedOut } from './services/changes/idempotency.ts'
import { clearAuditIps, pruneAudit } from './services/changes/prune-audit.ts'
import { pruneFeed } from './services/changes/record-revocation.ts'
import { forgetClaims } from './services/claims/forget-claims.ts'
import type { VerifyContext } from './services/context.ts'
import { emptyDeletedDevices } from './services/devices/empty-deleted-devices.ts'
import { foldNames } from './services/devices/fold-names.ts'
import { diagnose } from './services/health.ts'
import { forgetSignInNetworks } from './services/sessions/forget-sign-in-networks.ts'
import { notePasswordHashes } from './services/sessions/password-hashes.ts'
import { pruneSessions } from './services/sessions/prune-sessions.ts'
import { tellSignInFailures } from './services/sessions/tell-sign-in-failures.ts'
import { loadSettings, type Settings } from './settings.ts'

/** A job of the cron: it works in slices, and for how long it may begin another. */
type Job = { readonly run: (ctx: VerifyContext) => Promise<SliceDone>; readonly budgetMs: number }

const SHORT = 15 * SECOND_MS

/**
 * What runs every five minutes: see the crons in wrangler.toml. All budgets together are shorter.
 * The objects of 100,000 deleted devices are emptied within an hour if the plan allows 10,000 calls
 * an invocation: 8,334 a run.
 */
const JOBS: Readonly<Record<string, Job>> = {
  'prune-feed': { run: pruneFeed, budgetMs: SHORT },
  'prune-sessions': { run: pruneSessions, budgetMs: SHORT },
  'tell-sign-in-failures': { run: tellSignInFailures, budgetMs: SHORT },
  'forget-sign-in-networks': { run: forgetSignInNetworks, budgetMs: SHORT },
  'note-password-hashes': { run: notePasswordHashes, budgetMs: SHORT },
  'forget-claims': { run: forgetClaims, budgetMs: SHORT },
  'forget-handed-out': { run: forgetHandedOut, budgetMs: SHORT },
  'fold-names': { run: foldNames, budgetMs: SHORT },
  'prune-audit': { run: pruneAudit, budgetMs: SHORT },
  'clear-audit-ips': { run: clearAuditIps, budgetMs: SHORT },
  'empty-devices': { run: emptyDeletedDevices, budgetMs: 2 * MINUTE_MS },
}

/** Runs every job, whatever becomes of the others. A failure has a line that names its job. */
export async function runScheduled(env: Env): Promise<void> {
  const ctx = {
    database: env.DB,
    states: env.DEVICE_STATE,
    settings: loadSettingsOrLog(env),
    isolate: thisIsolate,
    now: Date.now(),
  }
  for (const [name, job] of Object.entries(JOBS)) {
    try {
      const done = await runInSlices(ctx, job)
      if (done > 0) console.info(JSON.stringify({ event: 'cron', job: name, done }))
    } catch (failure) {
      logFailure(`cron ${name}`, failure, await diagnose(env.DB, failure))
    }
  }
}

/** Without settings no job can run: the invocation fails, and the log says why. */
function loadSettingsOrLog(env: Env): Settings {
  try {
    return loadSettings(env)
  } catch (failure) {
    logFailure('cron', failure)
    throw failure
  }
}

/** Runs a job slice by slice while there is more to do and time is left. */
async function runInSlices(ctx: VerifyContext, { run, budgetMs }: Job): Promise<number> {
  const deadline = Date.now() + budgetMs
  let done = 0
  try {
    for (;;) {
      const slice = await run(ctx)
      done += slice.done
      if (!slice.isMore || Date.now() >= deadline) return done
    }
  } catch (failure) {
    // The next run goes on.
    if (done > 0 && isOutOfCalls(failure)) return done
    throw failure
  }
}

/** Whether the plan's calls for one invocation are used up. */
function isOutOfCalls(failure: unknown): boolean {
  if (!(failure instanceof Error)) return false
  // Drizzle puts D1's error into the cause of its own.
  return failure.message.includes('Too many subrequests') || isOutOfCalls(failure.cause)
}

import { waitUntil } from 'cloudflare:workers'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import { isLimited } from '../../domain/meter.ts'
import type { Outcome } from '../../domain/usage-count.ts'
import { FLUSH_INTERVAL_MS } from '../../isolate/usage-buffer.ts'
import type { VerifyContext } from '../context.ts'
import { withTimeout } from '../with-timeout.ts'

const OBJECT_TIMEOUT_MS = 5000

/**
 * Counts a verify, if the deployment wants it, without delaying it: in memory, and from there in
 * the device's object.
 */
export function countVerify(
  ctx: VerifyContext,
  { key, device }: KeyPolicySnapshot,
  secretHash: string,
  outcome: Outcome,
): void {
  const { settings, isolate, now } = ctx
  const { usage } = settings
  if (usage === 'off' || (usage === 'metered' && !isLimited(key.limits))) return
  isolate.usage.add(device.id, { keyId: key.id, secretHash, outcome, count: 1, at: now })
  if (isolate.usage.claimFlush(now)) waitUntil(flushLater(ctx))
}

async function flushLater(ctx: VerifyContext): Promise<void> {
  await scheduler.wait(FLUSH_INTERVAL_MS)
  await flushUsage(ctx)
}

/**
 * Hands on what is counted. What an object does not take is counted again, for the next flush. So
 * verifies are counted at least once: twice, if an object took them but answered too late.
 */
export async function flushUsage({
  states,
  isolate: { usage },
}: Pick<VerifyContext, 'states' | 'isolate'>): Promise<void> {
  await Promise.all(
    usage.take().map(async ({ deviceId, counts }) => {
      try {
        // In time to be counted again: the platform ends this work at 30 s.
        await withTimeout(states.getByName(deviceId).count(deviceId, counts), OBJECT_TIMEOUT_MS)
      } catch {
        for (const counted of counts) usage.add(deviceId, counted)
      }
    }),
  )
}

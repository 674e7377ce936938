import type * as z from 'zod'
import type { UsageRow } from '../domain/usage-count.ts'
import { DAY_MS, rfc3339 } from '../domain/time.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import { validQuery } from '../http/validate.ts'
import { usageQuery } from '../schemas/usage.ts'
import { findDevice } from '../services/devices/find-devices.ts'
import { readUsage } from '../services/devices/read-usage.ts'

/** How often the keys of a device were verified, and with what outcome. */
export const usage = factory
  .createApp()
  .get('/v1/devices/:id/usage', requireUser(), validQuery(usageQuery), async (c) => {
    const { ctx } = c.var
    const range = rangeOf(c.req.valid('query'), ctx.now)
    if (range.from >= range.to) {
      const errors = [{ pointer: '/from', detail: 'must be before to' }]
      return problem(c, 'invalid_request', { errors })
    }
    const path = { userId: c.var.user.id, deviceId: c.req.param('id') }
    const device = await findDevice(ctx, path)
    if (!device.ok) return problem(c, device.reason)
    const rows = await readUsage(ctx, { deviceId: path.deviceId, ...range })
    return c.json({ items: sumByKey(rows) })
  })

/** How far back a query looks where it does not say. */
const DEFAULT_RANGE_MS = { hour: DAY_MS, day: 30 * DAY_MS } as const

/** What a query asks for; without an end, up to the time of the request and with it. */
function rangeOf(query: z.output<typeof usageQuery>, now: number) {
  const { interval, to = now + 1, from = to - DEFAULT_RANGE_MS[interval] } = query
  return { interval, from, to }
}

type UsageItem = {
  readonly start: string
  readonly key_id: string
  allowed: number
  readonly denied: Record<string, number>
}

/** One item for each key and hour or day; the rows come in that order. */
function sumByKey(rows: readonly UsageRow[]): UsageItem[] {
  const items: UsageItem[] = []
  for (const { start, keyId, outcome, count } of rows) {
    let item = items.at(-1)
    if (item === undefined || item.start !== rfc3339(start) || item.key_id !== keyId) {
      item = { start: rfc3339(start), key_id: keyId, allowed: 0, denied: {} }
      items.push(item)
    }
    if (outcome === 'allowed') item.allowed += count
    else item.denied[outcome] = (item.denied[outcome] ?? 0) + count
  }
  return items
}

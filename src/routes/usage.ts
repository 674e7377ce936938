import type { UsageRow } from '../domain/usage-count.ts'
import { factory } from '../http/env.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { problem } from '../http/problem.ts'
import { validQuery } from '../http/validate.ts'
import { usageQuery } from '../schemas/usage.ts'
import { findDevice } from '../services/devices/find-devices.ts'
import { readUsage } from '../services/verify/count-usage.ts'
import { timestamp } from './wire.ts'

/** How often the keys of a device were verified, and with what outcome. */
export const usage = factory
  .createApp()
  .get('/v1/devices/:id/usage', requireUser(), validQuery(usageQuery), async (c) => {
    const device = await findDevice(c.env.DB, c.var.user.id, c.req.param('id'))
    if (device === undefined) return problem(c, 'not-found')
    const { interval, from, to } = c.req.valid('query')
    const rows = await readUsage(c.env.DEVICE_STATE, device.id, interval, from, to)
    return c.json({ items: sumByKey(rows) })
  })

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
    if (item === undefined || item.start !== timestamp(start) || item.key_id !== keyId) {
      item = { start: timestamp(start), key_id: keyId, allowed: 0, denied: {} }
      items.push(item)
    }
    if (outcome === 'allowed') item.allowed += count
    else item.denied[outcome] = (item.denied[outcome] ?? 0) + count
  }
  return items
}

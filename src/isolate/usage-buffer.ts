import { periodStart } from '../domain/quota.ts'
import type { UsageCount } from '../domain/usage-count.ts'

/** How long counts wait here, so that many verifies become one call to the device's object. */
export const FLUSH_INTERVAL_MS = 20_000
/** The platform ends work after a response at 30 s: a flush not done by then never will be. */
const FLUSH_DEADLINE_MS = 30_000
/** Objects that one flush calls; the rest waits for the next. */
export const FLUSH_DEVICES_MAX = 40

type DeviceUsage = { readonly deviceId: string; readonly counts: readonly UsageCount[] }

/**
 * What this isolate has counted and not yet handed on: plain data, which whichever request is there
 * may hand on for all. An isolate that dies takes it along.
 */
export class UsageBuffer {
  readonly #devices = new Map<string, Map<string, UsageCount>>()
  #flushBy = 0

  add(deviceId: string, counted: UsageCount): void {
    let device = this.#devices.get(deviceId)
    if (device === undefined) {
      device = new Map()
      this.#devices.set(deviceId, device)
    }
    // By the hour, too: what is handed on after its end still belongs to it.
    const { secretHash, outcome, at } = counted
    const name = `${secretHash} ${outcome} ${periodStart('hour', at)}`
    const known = device.get(name)
    const count = (known?.count ?? 0) + counted.count
    device.set(name, { ...counted, count, at: Math.max(at, known?.at ?? 0) })
  }

  /**
   * Whether the caller is to flush, FLUSH_INTERVAL_MS from now. Others are told no until a
   * deadline, not until the flush is done: the request that promised it may be gone.
   */
  claimFlush(now: number): boolean {
    if (now < this.#flushBy) return false
    this.#flushBy = now + FLUSH_DEADLINE_MS
    return true
  }

  /** Takes the counts of the devices that have waited longest; the next may claim a flush. */
  take(): DeviceUsage[] {
    this.#flushBy = 0
    const taken: DeviceUsage[] = []
    for (const [deviceId, counts] of this.#devices) {
      if (taken.length === FLUSH_DEVICES_MAX) break
      taken.push({ deviceId, counts: [...counts.values()] })
      this.#devices.delete(deviceId)
    }
    return taken
  }
}

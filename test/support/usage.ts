import { env } from 'cloudflare:workers'
import { expect } from 'vitest'
import { signAccessToken } from '../../src/services/sessions/access-token.ts'
import { flushUsage } from '../../src/services/verify/count-usage.ts'
import { loadSettings } from '../../src/settings.ts'
import { call } from './client.ts'
import type { TestDevice, TestUser } from './fixtures.ts'
import type { Isolate } from './isolates.ts'

export type UsageItem = {
  readonly start: string
  readonly key_id: string
  readonly allowed: number
  readonly denied: Readonly<Record<string, number>>
}

/** An access token of this very moment: tests move the clock further than a token lives. */
export async function freshToken(user: TestUser): Promise<string> {
  const { id: userId, sessionId } = user
  const ctx = { settings: loadSettings(env), now: Date.now() }
  return await signAccessToken(ctx, { userId, sessionId })
}

/** What the usage route says. */
export async function usageOf(
  user: TestUser,
  device: TestDevice,
  query = '',
): Promise<UsageItem[]> {
  const { status, text } = await call('GET', `/v1/devices/${device.id}/usage${query}`, {
    token: await freshToken(user),
  })
  expect({ status, text }).toMatchObject({ status: 200 })
  const { items }: { items: UsageItem[] } = JSON.parse(text)
  return items
}

/** All that the usage route says, as one tally by outcome. */
export async function totalsOf(user: TestUser, device: TestDevice, query = '') {
  const totals: Record<string, number> = {}
  for (const { allowed, denied } of await usageOf(user, device, query)) {
    for (const [outcome, count] of Object.entries({ allowed, ...denied })) {
      if (count > 0) totals[outcome] = (totals[outcome] ?? 0) + count
    }
  }
  return totals
}

/** Hands on what the isolate has counted. */
export async function flush(isolate: Isolate): Promise<void> {
  await flushUsage({ states: env.DEVICE_STATE, isolate: isolate.state })
}

/** Hands one use on to the object of a device: counted at a time, by the clock of an isolate. */
export async function countUse(deviceId: string, at: number): Promise<void> {
  await env.DEVICE_STATE.getByName(deviceId).count(deviceId, [
    { keyId: 'key', secretHash: 'hash', outcome: 'allowed', count: 1, at },
  ])
}

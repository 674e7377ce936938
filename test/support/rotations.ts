import { expect, vi } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { type Answer, call, pick } from './client.ts'
import { makeUser, type TestDevice, type TestUser } from './fixtures.ts'
import { makeLimitedDevice, type WireLimits } from './limits.ts'
import { countRows } from './rows.ts'

/** A device and its owner. */
export type Owned = { readonly user: TestUser; readonly device: TestDevice }

export async function makeOwned(limits: WireLimits, policy: object = {}): Promise<Owned> {
  const user = await makeUser()
  const device = await makeLimitedDevice(user, { ...limits, ...policy })
  return { user, device }
}

export const keyPathOf = ({ id, keyId }: TestDevice) => `/v1/devices/${id}/keys/${keyId}`

export async function rotate({ user, device }: Owned, body: object): Promise<Answer> {
  return await call('POST', `${keyPathOf(device)}/rotate`, { token: user.token, body })
}

export const UNTIL_USED = { until_used: true }

export async function rotatedSecret(owned: Owned, body: object): Promise<string> {
  const answer = await rotate(owned, body)
  expect(answer.status).toBe(200)
  return pick(answer.body, 'api_key')
}

/** The status of a call with each secret. */
export async function statusesOf(...secrets: readonly string[]): Promise<number[]> {
  const statuses: number[] = []
  for (const token of secrets) statuses.push((await call('GET', '/v1/device', { token })).status)
  return statuses
}

/** A first use, and the write that comes after its answer. */
export async function useFirst(secret: string): Promise<void> {
  expect(await statusesOf(secret)).toEqual([200])
  const hash = await sha256(secret)
  await vi.waitFor(async () => {
    const noted = 'hash = ? and first_used_at is not null'
    expect(await countRows('key_secrets', noted, hash)).toBe(1)
  })
}

export async function secretsShown({ user, device }: Owned): Promise<Record<string, unknown>[]> {
  const { text } = await call('GET', keyPathOf(device), { token: user.token })
  const { secrets }: { secrets: Record<string, unknown>[] } = JSON.parse(text)
  return secrets
}

import { expect } from 'vitest'
import { type Answer, call } from './client.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from './fixtures.ts'

export const DOOR = '/v1/forward-auth'
/** Asks about a device of whatever owner. */
export const PATH = `${DOOR}?owner=any`
const IDENTITY = ['x-device-id', 'x-device-name', 'x-owner-id', 'x-key-id', 'x-device-scopes']

type Stage = { readonly user: TestUser; readonly device: TestDevice }

/** A device whose key has that policy. */
export async function setUp(policy: object = {}, name?: string): Promise<Stage> {
  const user = await makeUser()
  const device = await makeDevice(user, name)
  const path = `/v1/devices/${device.id}/keys/${device.keyId}`
  const { status } = await call('PATCH', path, { token: user.token, body: policy })
  expect(status).toBe(200)
  return { user, device }
}

/** A refusal names nobody. */
export function expectNoIdentity({ headers }: Answer): void {
  for (const name of IDENTITY) expect(headers.has(name)).toBe(false)
}

import { env } from 'cloudflare:workers'
import { expect } from 'vitest'
import { type Answer, call } from './client.ts'
import {
  makeDevice,
  makeUser,
  PASSWORD,
  setCheapPassword,
  type TestDevice,
  type TestUser,
} from './fixtures.ts'
import { fetchToken } from './oauth.ts'

/** A device of a user whose password is `PASSWORD`, known by heart to the isolate of the tests. */
export type WarmDevice = {
  readonly user: TestUser
  readonly device: TestDevice
  /** A device token. */
  readonly token: string
  /** The path of the device's key. */
  readonly keyPath: string
}

/** Makes a device, and uses its secret and a token of it, so that both are in memory. */
export async function makeWarmDevice(): Promise<WarmDevice> {
  const user = await makeUser()
  await setCheapPassword(user, PASSWORD)
  const device = await makeDevice(user)
  const token = await fetchToken(device)
  for (const credential of [device.secret, token]) {
    expect((await present(credential)).status).toBe(200)
  }
  return { user, device, token, keyPath: `/v1/devices/${device.id}/keys/${device.keyId}` }
}

/** Calls the device's own door. */
export async function present(credential: string, environment = env): Promise<Answer> {
  return await call('GET', '/v1/device', { token: credential, env: environment })
}

import type { HonoRequest } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import type { MeterPolicy } from '../../domain/meter.ts'
import { isLiteralScope, VERIFY_OWN } from '../../domain/scopes.ts'
import type { Credential } from '../../services/verify/verify-key.ts'
import type { AppEnv } from '../env.ts'
import { isJson } from '../validate.ts'
import { DEVICE_CREDENTIAL_PLACES, readDeviceCredential } from './credential.ts'
import { denied, refusedCredential } from './refuse.ts'
import { refused, verifyPresented } from './verify-presented.ts'

type CallingDevice = { readonly id: string; readonly name: string }

type CallingKey = {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly expiresAt: number | null
  readonly limits: MeterPolicy
}

type DeviceOwner = { readonly id: string; readonly role: 'user' | 'admin' }

export type DeviceEnv = AppEnv & {
  Variables: {
    device: CallingDevice
    key: CallingKey
    owner: DeviceOwner
    credential: Credential
    policy: KeyPolicySnapshot
  }
}

export type RequireDeviceOptions = {
  /** Literal scopes, all of which the key must cover. */
  readonly scopes?: readonly string[]
  /** The credential must be a verifier's: `keys:verify`, or an admin's `keys:verify-all`. */
  readonly asVerifier?: boolean
  /** Take a secret, and no device token. */
  readonly secretOnly?: boolean
  /** Also take the credential from the JSON body's `api_key`. Off unless asked for. */
  readonly body?: boolean
}

/**
 * Lets in devices that present a good secret or device token. A made-up secret is refused without
 * I/O; a genuine one is found in memory, or with one read.
 * @throws TypeError when a scope is malformed, or ends in `*`
 * @example
 *     app.post('/telemetry', requireDevice({ scopes: ['telemetry:write'] }), (c) =>
 *       c.json({ hello: c.var.device.name }),
 *     )
 */
export function requireDevice(options: RequireDeviceOptions = {}) {
  const { scopes = [], asVerifier = false, secretOnly = false, body: takesBody = false } = options
  const malformed = scopes.find((scope) => !isLiteralScope(scope))
  if (malformed !== undefined) throw new TypeError(`not a scope to ask for: ${malformed}`)

  return createMiddleware<DeviceEnv>(async function requireDevice(c, next) {
    const field = takesBody ? await readApiKeyField(c.req) : undefined
    const presented = readDeviceCredential(c.req.raw.headers, field)
    if (!presented.ok) return refusedCredential(c, presented.reason, DEVICE_CREDENTIAL_PLACES)

    const verified = await verifyPresented(c, presented.value, { scopes, asVerifier })
    if (!verified.valid) return refused(c, verified, asVerifier ? [VERIFY_OWN] : scopes)
    const { credential } = verified
    if (secretOnly && credential.kind !== 'secret') return denied(c, 'not_found')
    const { device, key, owner } = verified.policy
    c.set('device', device)
    c.set('key', key)
    c.set('owner', owner)
    c.set('credential', credential)
    c.set('policy', verified.policy)
    return await next()
  })
}

/** Hono keeps the parsed body, so the route can still read it. What is not JSON holds no field. */
async function readApiKeyField(request: HonoRequest): Promise<unknown> {
  const isRead = request.method !== 'GET' && request.method !== 'HEAD'
  if (!isRead || request.raw.body === null || !isJson(request.raw)) return undefined
  const body: unknown = await request.json().catch(() => undefined)
  return typeof body === 'object' && body !== null && 'api_key' in body ? body.api_key : undefined
}

import { createMiddleware } from 'hono/factory'
import type { HonoRequest } from 'hono'
import { verifySecret } from '../../services/verify.ts'
import { readDeviceCredential } from '../credential.ts'
import type { AppEnv } from '../env.ts'
import { denied, refusedCredential } from '../problem.ts'
import { isJson } from '../validate.ts'

export type CallingDevice = { readonly id: string; readonly name: string; readonly ownerId: string }

export type CallingKey = {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly expiresAt: number | null
}

export type DeviceEnv = AppEnv & { Variables: { device: CallingDevice; key: CallingKey } }

export type RequireDeviceOptions = {
  /** Also take the credential from the JSON body's `api_key`. Off unless asked for. */
  readonly body?: boolean
}

/**
 * Lets in devices that present a good secret. Put it before any route of your own:
 *
 *     app.get('/telemetry', requireDevice(), (c) => c.json({ hello: c.var.device.name }))
 *
 * A made-up secret is refused without I/O; a genuine one is found with one read.
 */
export function requireDevice(options: RequireDeviceOptions = {}) {
  const takesBody = options.body ?? false
  return createMiddleware<DeviceEnv>(async function requireDevice(c, next) {
    const field = takesBody ? await readApiKeyField(c.req) : undefined
    const presented = readDeviceCredential(c.req.raw.headers, field)
    if (!presented.ok) return refusedCredential(c, presented.reason)

    const { settings, now } = c.var
    const verified = await verifySecret(c.env.DB, presented.value, settings, now)
    c.var.log.deviceId = verified.policy?.device.id
    c.var.log.keyId = verified.policy?.key.id
    if (!verified.valid) return denied(c, verified.denial)
    const { device, key, owner } = verified.policy
    c.set('device', { id: device.id, name: device.name, ownerId: owner.id })
    c.set('key', { id: key.id, name: key.name, scopes: key.scopes, expiresAt: key.expiresAt })
    return await next()
  })
}

/** Hono keeps the parsed body, so the route can still read it. What is not JSON holds no field. */
async function readApiKeyField(request: HonoRequest): Promise<unknown> {
  if (request.raw.body === null || !isJson(request.raw)) return undefined
  const body: unknown = await request.json().catch(() => undefined)
  return typeof body === 'object' && body !== null && 'api_key' in body ? body.api_key : undefined
}

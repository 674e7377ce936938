import type { HonoRequest } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { MeterPolicy } from '../../domain/meter.ts'
import { isLiteralScope, VERIFY_OWN } from '../../domain/scopes.ts'
import type { Caller } from '../../services/verify/throttle-unknown.ts'
import {
  type Verification,
  verifyKey,
  type VerifyRequest,
  type VerifyWorld,
} from '../../services/verify/verify-key.ts'
import { clientIp } from '../client.ts'
import { readDeviceCredential } from './credential.ts'
import type { AppContext, AppEnv } from '../env.ts'
import { denied, overLimit, refusedCredential } from '../problem.ts'
import { rateLimitHeaders } from '../limit-headers.ts'
import { isJson } from '../validate.ts'

export type CallingDevice = { readonly id: string; readonly name: string }

export type CallingKey = {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly expiresAt: number | null
  readonly limits: MeterPolicy
}

export type DeviceOwner = { readonly id: string; readonly role: 'user' | 'admin' }

export type DeviceEnv = AppEnv & {
  Variables: { device: CallingDevice; key: CallingKey; owner: DeviceOwner }
}

export type RequireDeviceOptions = {
  /** Literal scopes, all of which the key must cover. */
  readonly scopes?: readonly string[]
  /** The credential must be a verifier's: `keys:verify`, or an admin's `keys:verify-all`. */
  readonly asVerifier?: boolean
  /** Also take the credential from the JSON body's `api_key`. Off unless asked for. */
  readonly body?: boolean
}

/**
 * Lets in devices that present a good secret. Put it before any route of your own:
 *
 *     app.post('/telemetry', requireDevice({ scopes: ['telemetry:write'] }), (c) =>
 *       c.json({ hello: c.var.device.name }),
 *     )
 *
 * A made-up secret is refused without I/O; a genuine one is found in memory, or with one read.
 * @throws TypeError when a scope is none that can be asked for
 */
export function requireDevice(options: RequireDeviceOptions = {}) {
  const { scopes = [], asVerifier = false, body: takesBody = false } = options
  const malformed = scopes.find((scope) => !isLiteralScope(scope))
  if (malformed !== undefined) throw new TypeError(`not a scope to ask for: ${malformed}`)

  return createMiddleware<DeviceEnv>(async function requireDevice(c, next) {
    const field = takesBody ? await readApiKeyField(c.req) : undefined
    const presented = readDeviceCredential(c.req.raw.headers, field)
    if (!presented.ok) return refusedCredential(c, presented.reason)

    const verified = await verifyPresented(c, presented.value, { scopes, asVerifier })
    if (!verified.valid) return refused(c, verified, asVerifier ? [VERIFY_OWN] : scopes)
    const { device, key, owner } = verified.policy
    c.set('device', device)
    c.set('key', key)
    c.set('owner', owner)
    return await next()
  })
}

/** Answers a "no" to this request's own caller. */
export function refused(
  c: AppContext,
  { denial, meter }: Extract<Verification, { valid: false }>,
  scopes: readonly string[] = [],
): Response {
  if (meter === null || meter.refusedBy === null) return denied(c, denial, scopes)
  return overLimit(c, meter.refusedBy, meter)
}

/**
 * Verifies what this request's own caller presents. Notes for the log whose it is, and puts on the
 * response how its limits stand.
 * @param ownerId only this owner's devices exist; not given: everyone's do
 */
export async function verifyPresented(
  c: AppContext,
  presented: string,
  asked: Pick<VerifyRequest, 'scopes' | 'asVerifier' | 'ownerId'> = {},
): Promise<Verification> {
  const verified = await verifyKey(worldOf(c), { presented, ...asked, caller: callerOf(c) })
  c.var.log.deviceId = verified.policy?.device.id
  c.var.log.keyId = verified.policy?.key.id
  if (verified.policy !== null && verified.meter !== null) {
    Object.assign(
      c.var.headers,
      rateLimitHeaders(verified.policy.key.limits, verified.meter, Date.now()),
    )
  }
  return verified
}

/** The time is this very moment's: the request may have begun long ago, with a body that trickled. */
export function worldOf(c: AppContext): VerifyWorld {
  const { DB: database, DEVICE_STATE: states } = c.env
  return { database, states, settings: c.var.settings, now: Date.now() }
}

export function callerOf(c: AppContext): Caller {
  return {
    ip: clientIp(c) ?? null,
    requestId: c.var.requestId,
    limiter: c.env.UNKNOWN_SECRET_LIMITER,
  }
}

/** Hono keeps the parsed body, so the route can still read it. What is not JSON holds no field. */
async function readApiKeyField(request: HonoRequest): Promise<unknown> {
  const isRead = request.method !== 'GET' && request.method !== 'HEAD'
  if (!isRead || request.raw.body === null || !isJson(request.raw)) return undefined
  const body: unknown = await request.json().catch(() => undefined)
  return typeof body === 'object' && body !== null && 'api_key' in body ? body.api_key : undefined
}

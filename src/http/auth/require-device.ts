import type { HonoRequest } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import type { MeterPolicy } from '../../domain/meter.ts'
import { isOwner, type Owner, OWNER_WANTED } from '../../domain/owner.ts'
import { isLiteralScope, VERIFY_OWN } from '../../domain/scopes.ts'
import type { VerifyContext } from '../../services/context.ts'
import type { Credential } from '../../services/verify/verify-key.ts'
import type { AppEnv } from '../env.ts'
import { isJson } from '../validate.ts'
import { admit } from './admit.ts'
import { DEVICE_CREDENTIAL_PLACES, readDeviceCredential } from './credential.ts'
import { CREDENTIAL } from './doors.ts'
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
    ctx: VerifyContext
  }
}

export type RequireDeviceOptions = {
  /** The user whose devices may pass, by id; or `any`: those of every account. */
  readonly owner: Owner
  /** The audience that a device token must name, a URI; PUBLIC_URL unless said. */
  readonly audience?: string
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
 * @throws TypeError when no owner is named, or a scope is malformed or ends in `*`
 * @example
 *     const guard = requireDevice({ owner: env.OWNER_ID, scopes: ['telemetry:write'] })
 *     app.post('/telemetry', guard, (c) => c.json({ hello: c.var.device.name }))
 */
export function requireDevice(options: RequireDeviceOptions) {
  const { owner, audience, scopes = [], asVerifier = false } = options
  const { secretOnly = false, body: takesBody = false } = options
  // The type demands it, but plain JavaScript may call this.
  if (!isOwner(owner)) throw new TypeError(OWNER_WANTED)
  const malformed = scopes.find((scope) => !isLiteralScope(scope))
  if (malformed !== undefined) throw new TypeError(`not a scope to ask for: ${malformed}`)

  return createMiddleware<DeviceEnv>(async function requireDevice(c, next) {
    const field = takesBody ? await readApiKeyField(c.req) : undefined
    const presented = readDeviceCredential(c.req.raw.headers, field)
    if (!presented.ok) return refusedCredential(c, presented.reason, DEVICE_CREDENTIAL_PLACES)

    const ctx = admit(c, CREDENTIAL)
    const asked = { owner, audience, scopes, asVerifier }
    const verified = await verifyPresented(c, ctx, presented.value, asked)
    if (!verified.valid) return refused(c, verified, asVerifier ? [VERIFY_OWN] : scopes)
    const { credential } = verified
    if (secretOnly && credential.kind !== 'secret') return denied(c, 'not_found')
    const { policy } = verified
    c.set('device', policy.device)
    c.set('key', policy.key)
    c.set('owner', policy.owner)
    c.set('credential', credential)
    c.set('policy', policy)
    c.set('ctx', ctx)
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

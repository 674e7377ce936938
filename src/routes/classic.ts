import { SECOND_MS } from '../domain/time.ts'
import { capReached } from '../http/auth/cap-reached.ts'
import { admit } from '../http/auth/admit.ts'
import { userContextOf, visitorContextOf } from '../http/auth/contexts.ts'
import { CREDENTIAL, PASSWORD } from '../http/auth/doors.ts'
import { idempotent } from '../http/auth/idempotent.ts'
import { throttled } from '../http/auth/refuse.ts'
import { requireUser } from '../http/auth/require-user.ts'
import { refused, verifyPresented } from '../http/auth/verify-presented.ts'
import { userAgentOf } from '../http/client.ts'
import { type AppContext, factory } from '../http/env.ts'
import { noteDenial } from '../http/log.ts'
import { problem } from '../http/problem.ts'
import { isJson, validBody } from '../http/validate.ts'
import { classicDevice, classicRegistration, classicSignIn } from '../schemas/classic.ts'
import { checkIn } from '../services/devices/check-in.ts'
import { createDevice } from '../services/devices/create-device.ts'
import { ACCESS_TOKEN_SECONDS } from '../services/sessions/access-token.ts'
import { signIn } from '../services/sessions/sign-in.ts'
import { registerUser } from '../services/users/register-user.ts'
import { replayHeaders } from './wire.ts'

const INVALID_CREDENTIALS = {
  description: 'Invalid credentials',
  error: 'Bad Request',
  status_code: 401,
}
/** RFC 9110 §15.5.2 wants one with a 401; this is the old system's. */
const CHALLENGE = { 'WWW-Authenticate': 'JWT realm="Login Required"' }
const NO_API_KEY = { message: 'Please provide an API key' }
const INVALID_API_KEY = { message: 'The provided API key is not valid' }

/**
 * The surface of the system that Latchkey replaces: its clients work unchanged, so paths, bodies
 * and status codes are to the letter. Every error has a `message`.
 */
export const classic = factory
  .createApp()
  .post('/register', validBody(classicRegistration), async (c) => {
    if (c.var.settings.registration === 'closed') return problem(c, 'registration_closed')
    const input = c.req.valid('json')
    const admitted = await admit(c, PASSWORD, input)
    if (!admitted.ok) return throttled(c)
    const registered = await registerUser(visitorContextOf(c, admitted.value), input)
    return registered.ok
      ? c.json({ message: 'User created successfully.' }, 201)
      : c.json({ message: 'A user with that username already exists.' }, 400)
  })
  .post('/auth', async (c) => {
    if (!isJson(c.req.raw)) return problem(c, 'unsupported_media_type')
    const json = await readJson(c)
    if (json === undefined) return problem(c, 'invalid_json')
    const body = classicSignIn.safeParse(json)
    if (!body.success) return c.json(INVALID_CREDENTIALS, 401, CHALLENGE)
    const { username, password } = body.data
    const admitted = await admit(c, PASSWORD, { username })
    if (!admitted.ok) return throttled(c)
    // Nobody gets its refresh token: it lasts as long as the access token.
    const idleMs = ACCESS_TOKEN_SECONDS * SECOND_MS
    const limiter = c.env.SIGN_IN_LIMITER_ACCOUNT
    const input = { username, password, userAgent: userAgentOf(c), limiter, idleMs }
    const opened = await signIn(visitorContextOf(c, admitted.value), input)
    if (opened.ok) {
      c.var.log.userId = opened.value.userId
      return c.json({ access_token: opened.value.accessToken })
    }
    noteDenial(c, opened.reason === 'disabled' ? 'disabled' : 'not_found')
    if (opened.reason === 'rate_limited') return problem(c, opened.reason)
    return c.json(INVALID_CREDENTIALS, 401, CHALLENGE)
  })
  .post(
    '/user/add-device',
    requireUser({ schemes: ['JWT', 'Bearer'] }),
    idempotent,
    validBody(classicDevice),
    async (c) => {
      const { device_name: name } = c.req.valid('json')
      const input = { userId: c.var.user.id, name, metadata: {}, key: {} }
      const created = await createDevice(userContextOf(c), input)
      if (!created.ok) {
        if (created.reason === 'cap_reached') return capReached(c, 'devices')
        if (created.reason !== 'device_name_taken') return problem(c, created.reason)
        return c.json({ message: `A device with name '${name}' already exists.` }, 400)
      }
      c.var.log.deviceId = created.value.device.id
      return c.json({ api_key: created.value.secret }, 201, replayHeaders(created.value))
    },
  )
  .all('/device/check-in', async (c) => {
    if (c.req.method !== 'POST') return c.json(INVALID_API_KEY, 403)
    const body = await readTruthyJson(c)
    if (body === undefined) return c.json(NO_API_KEY, 400)
    const presented = 'api_key' in body ? body.api_key : undefined
    if (typeof presented !== 'string') return c.json(INVALID_API_KEY, 403)

    const ctx = admit(c, CREDENTIAL)
    const verified = await verifyPresented(c, ctx, presented, { owner: 'any' })
    if (!verified.valid) {
      if (verified.kind === 'throttled' || verified.meter !== null) return refused(c, verified)
      noteDenial(c, verified.denial)
      return c.json(INVALID_API_KEY, 403)
    }
    const { device } = verified.policy
    await checkIn(ctx, { deviceId: device.id })
    return c.json({ message: 'Check-in received.', device_name: device.name })
  })

/** The JSON body; undefined when there is none, or it does not parse. */
async function readJson(c: AppContext): Promise<unknown> {
  if (c.req.raw.body === null || !isJson(c.req.raw)) return undefined
  return await c.req.json().catch(() => undefined)
}

/** The JSON body where the old system's `if not json` would have let it pass; scalars become {}. */
async function readTruthyJson(c: AppContext): Promise<object | undefined> {
  const body = await readJson(c)
  if (!body) return undefined
  if (typeof body !== 'object') return {}
  return Object.keys(body).length > 0 ? body : undefined
}

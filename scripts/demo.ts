// `npm run demo [-- <base url>]`: plays the whole story against a running server, as a client of
// the public API would, and ends with 1 at the first surprise.
import { randomBytes } from 'node:crypto'
import { inspect, isDeepStrictEqual } from 'node:util'
import { fail, process } from './tools.ts'

const base = process.argv[2] ?? 'http://localhost:8787'
if (!URL.canParse(base)) fail('usage: npm run demo [-- <base url>]')

const suffix = randomBytes(4).toString('hex')
const account = { username: `demo-${suffix}`, password: randomBytes(16).toString('base64url') }
await call('POST /v1/users', { body: account, expect: 201 })
say(`registered ${account.username}`)

const session = await call('POST /v1/sessions', { body: account, expect: 201 })
const accessToken = textAt(session, 'access_token')
say('signed in')

const name = `thermometer ${suffix}`
const made = await call('POST /v1/devices', { as: accessToken, body: { name }, expect: 201 })
const deviceId = textAt(made, 'device', 'id')
const apiKey = textAt(made, 'api_key')
say(`added the device "${name}" with the key ${textAt(made, 'key', 'secrets', '0', 'hint')}`)

const self = await call('GET /v1/device', { as: apiKey, expect: 200 })
expectEqual('device.id', textAt(self, 'device', 'id'), deviceId)
say('the device asked with its key who it is')

const report = { temperature: 21.5 }
await call('POST /v1/device/check-ins', { as: apiKey, body: { report }, expect: 201 })
say('the device checked in with a report')

await call('GET /v1/device', { as: breakKey(apiKey), expect: 401, code: 'invalid_credential' })
say('a broken key was refused')

const read = await call(`GET /v1/devices/${deviceId}`, { as: accessToken, expect: 200 })
expectEqual('last_report', valueAt(read, 'last_report'), report)
say('its owner read the report')

await call(`DELETE /v1/devices/${deviceId}`, { as: accessToken, expect: 204 })
say('its owner deleted the device')

await call('GET /v1/device', { as: apiKey, expect: 401, code: 'revoked' })
say('the key of the deleted device was refused')

const { password: current_password } = account
await call('DELETE /v1/me', { as: accessToken, body: { current_password }, expect: 204 })
say('deleted the account')

await call('GET /v1/me', { as: accessToken, expect: 401, code: 'revoked' })
say('the access token was refused')

type Call = {
  /** The credential, of a user or of a device. */
  readonly as?: string
  readonly body?: Record<string, unknown>
  readonly expect: number
  /** The code of the problem that is expected. */
  readonly code?: string
}

/** Sends a request, holds the answer to what is expected, and returns its body. */
async function call(route: string, { as, body, expect, code }: Call): Promise<unknown> {
  const [method = '', path = ''] = route.split(' ')
  const headers = new Headers()
  if (as !== undefined) headers.set('Authorization', `Bearer ${as}`)
  if (body !== undefined) headers.set('Content-Type', 'application/json')
  const init = { method, headers, body: body === undefined ? null : JSON.stringify(body) }
  const response = await fetch(new URL(path, base), init).catch(() =>
    fail(`nothing answers at ${base}: start it first with npm run dev`),
  )
  const answer = parseJson(await response.text())
  // Not the whole answer: one that should have been a refusal may hold a secret.
  const came = { status: response.status, code: valueAt(answer, 'code') }
  expectEqual(route, came, { status: expect, code })
  if (expect >= 400) {
    const mediaType = response.headers.get('content-type')?.split(';')[0]
    expectEqual(`media type of ${route}`, mediaType, 'application/problem+json')
  }
  return answer
}

function expectEqual(what: string, came: unknown, expected: unknown): void {
  if (isDeepStrictEqual(came, expected)) return
  fail(`SURPRISE  ${what}: expected ${inspect(expected)}, and ${inspect(came)} came`)
}

function say(step: string): void {
  console.log(`ok  ${step}`)
}

/** The last character is part of the check, which then is another secret's. */
function breakKey(key: string): string {
  return key.slice(0, -1) + (key.endsWith('0') ? '1' : '0')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function valueAt(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((inner, name) => (isRecord(inner) ? inner[name] : undefined), value)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function textAt(value: unknown, ...path: string[]): string {
  const found = valueAt(value, ...path)
  if (typeof found === 'string') return found
  return fail(`SURPRISE  ${path.join('.')}: expected a text, and ${typeof found} came`)
}

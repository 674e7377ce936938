import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { type Isolate, makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { claimsOf, retyped } from '../support/tokens.ts'

const LIFETIME_MS = loadSettings(env).deviceTokenSeconds * 1000

/** Types that neither we nor RFC 9068 give to an access token. */
const OTHERS = ['', null, 5, ['at+jwt'], 'at', 'dpop+jwt', 'logout+jwt', 'at+jwt ', 'JWS']
const WRONG = [
  { what: 'missing', typ: undefined },
  ...OTHERS.map((typ) => ({ what: JSON.stringify(typ), typ })),
]
const DEVICES = ['at+jwt', 'AT+JWT', 'application/at+jwt']

let user: TestUser
let device: TestDevice
let token: string

/** An isolate that started that long before now. */
function isolateOfAge(ageMs: number): Isolate {
  const now = Date.now()
  const isolate = makeIsolate(now)
  isolate.state.startedAt = now - ageMs
  return isolate
}

beforeAll(async () => {
  user = await makeUser()
})

describe.each(KEY_KINDS)('The type of a device token of %s', (_, limits) => {
  beforeAll(async () => {
    device = await makeLimitedDevice(user, limits)
    token = await fetchToken(device)
  })

  it.each(DEVICES)('may be %s (RFC 9068 §4), however old the isolate is', async (typ) => {
    for (const age of [0, LIFETIME_MS, 10 * LIFETIME_MS]) {
      expect(await isolateOfAge(age).codeOf(await retyped(token, typ))).toBe('valid')
    }
  })

  it('may be JWT, as older versions signed it, if it was issued while they could be around', async () => {
    const old = await retyped(token, 'JWT')
    for (const age of [0, LIFETIME_MS - 2000]) {
      expect(await isolateOfAge(age).codeOf(old)).toBe('valid')
    }
    for (const age of [LIFETIME_MS + 2000, 10 * LIFETIME_MS]) {
      expect(await isolateOfAge(age).codeOf(old)).toBe('not_found')
    }
  })

  it('may be JWT until the token ends, if it was issued while a deploy rolled out', async () => {
    const old = await retyped(token, 'JWT')
    const isolate = makeIsolate(Date.now())
    isolate.state.startedAt = isolate.now - 60_000
    isolate.now += LIFETIME_MS - 2000
    expect(await isolate.codeOf(old)).toBe('valid')
  })

  it('may not be JWT in a token that has come after one lifetime of the isolate', async () => {
    const isolate = isolateOfAge(0)
    expect(await isolate.codeOf(token)).toBe('valid')
    isolate.now += LIFETIME_MS + 2000
    const iat = Math.floor(isolate.now / 1000)
    const claims = { ...claimsOf(token), iat, exp: iat + LIFETIME_MS / 1000 }
    expect(await isolate.codeOf(await retyped(token, 'JWT', claims))).toBe('not_found')
    expect(await isolate.codeOf(await retyped(token, 'at+jwt', claims))).toBe('valid')
  })

  it.each(WRONG)('may not be $what, however young the isolate is', async ({ typ }) => {
    expect(await isolateOfAge(0).codeOf(await retyped(token, typ))).toBe('not_found')
  })
})

describe("The type of a user's access token", () => {
  it('may be JWT', async () => {
    const good = await retyped(user.token, 'JWT')
    expect((await call('GET', '/v1/me', { token: good })).status).toBe(200)
  })

  it.each([...DEVICES.map((typ) => ({ what: typ, typ })), ...WRONG])(
    'may not be $what',
    async ({ typ }) => {
      const answer = await call('GET', '/v1/me', { token: await retyped(user.token, typ) })
      expectProblem(answer, 401, 'invalid_credential')
    },
  )
})

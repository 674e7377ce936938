import { env } from 'cloudflare:workers'
import { beforeAll, afterEach, describe, expect, it, vi } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { call } from '../support/client.ts'
import { captureConsole } from '../support/console.ts'
import { countStatements } from '../support/counting.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { setClock } from '../support/limits.ts'
import { countRows, execute } from '../support/rows.ts'
import {
  resigned,
  signedByStranger,
  tampered,
  withAlgorithm,
  strangersKey,
} from '../support/tokens.ts'

let user: TestUser
let victim: TestUser

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds

beforeAll(async () => {
  user = await makeUser()
  victim = await makeUser()
})

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

/** Tokens that nobody may be let in with; how each is made, and what it is told. */
const BAD: readonly (readonly [string, () => Promise<string> | string, string])[] = [
  ['alg none', () => withAlgorithm(user.token, 'none'), 'invalid_credential'],
  [
    'alg HS256 under the public key',
    () => withAlgorithm(user.token, 'HS256'),
    'invalid_credential',
  ],
  ['alg RS256', () => withAlgorithm(user.token, 'RS256'), 'invalid_credential'],
  ['no exp', () => resigned(user.token, { exp: undefined }), 'invalid_credential'],
  ['an exp that is text', () => resigned(user.token, { exp: '9999999999' }), 'invalid_credential'],
  ['an exp that is null', () => resigned(user.token, { exp: null }), 'invalid_credential'],
  ['no iat', () => resigned(user.token, { iat: undefined }), 'invalid_credential'],
  ['an iat to come', () => resigned(user.token, { iat: inSeconds(120) }), 'invalid_credential'],
  ['an nbf to come', () => resigned(user.token, { nbf: inSeconds(120) }), 'invalid_credential'],
  [
    'another iss',
    () => resigned(user.token, { iss: 'https://else.example' }),
    'invalid_credential',
  ],
  ['no iss', () => resigned(user.token, { iss: undefined }), 'invalid_credential'],
  [
    'another aud',
    () => resigned(user.token, { aud: 'urn:latchkey:devices' }),
    'invalid_credential',
  ],
  ['no aud', () => resigned(user.token, { aud: undefined }), 'invalid_credential'],
  ['no sub', () => resigned(user.token, { sub: undefined }), 'invalid_credential'],
  ['no sid', () => resigned(user.token, { sid: undefined }), 'invalid_credential'],
  ['a sid that is no text', () => resigned(user.token, { sid: [1] }), 'invalid_credential'],
  ['expired', () => resigned(user.token, { exp: inSeconds(0) }), 'expired'],
  ['an unknown kid', () => signedByStranger(user.token, 'unknown'), 'invalid_credential'],
  ['our kid, not our key', () => signedByStranger(user.token), 'invalid_credential'],
  ['changed claims', () => tampered(user.token, { sub: victim.id }), 'invalid_credential'],
  ["another's sub", () => resigned(user.token, { sub: victim.id }), 'revoked'],
  ["another's sid", () => resigned(user.token, { sid: victim.sessionId }), 'revoked'],
  ['a sid of no session', () => resigned(user.token, { sid: newId('sess') }), 'revoked'],
  ['an ended session', endedSession, 'revoked'],
  ['a disabled user', disabledUser, 'disabled'],
  ['a deleted user', deletedUser, 'revoked'],
  ["a device's secret", async () => (await makeDevice(user)).secret, 'invalid_credential'],
]

async function endedSession(): Promise<string> {
  const { token } = await makeUser()
  await call('DELETE', '/v1/sessions/current', { token })
  return token
}

async function disabledUser(): Promise<string> {
  const { id, token } = await makeUser()
  await execute('update users set disabled_at = 1 where id = ?', id)
  return token
}

async function deletedUser(): Promise<string> {
  const { id, token } = await makeUser()
  await execute('delete from sessions where user_id = ?', id)
  await execute('delete from users where id = ?', id)
  return token
}

describe('an access token', () => {
  it.each(BAD)('is refused, and repeated nowhere: %s', async (_label, make, code) => {
    const token = await make()
    const lines = captureConsole()
    for (const logRequests of ['changes', 'all']) {
      const answer = await call('GET', '/v1/me', {
        token,
        env: { ...env, LOG_REQUESTS: logRequests },
      })
      expectProblem(answer, 401, code)
      const said = [answer.text, JSON.stringify([...answer.headers]), ...lines.map(textOf)].join()
      for (const part of [token, ...token.split('.').filter((part) => part.length > 20)]) {
        expect(said).not.toContain(part)
      }
    }
    expect(lines).not.toEqual([])
  })

  it('that is not signed by us costs no D1 statement', async () => {
    const { database, statements } = countStatements(env.DB)
    const tokens = [
      withAlgorithm(user.token, 'none'),
      await signedByStranger(user.token),
      tampered(user.token, { sub: victim.id }),
      await resigned(user.token, { exp: 1 }),
      'a.b.c',
    ]
    for (const token of tokens) {
      const answer = await call('GET', '/v1/me', { token, env: { ...env, DB: database } })
      expect(answer.status).toBe(401)
    }
    expect(statements).toEqual([])
  })

  it('that is good costs exactly one D1 statement', async () => {
    const { database, statements } = countStatements(env.DB)
    const answer = await call('GET', '/v1/me', { token: user.token, env: { ...env, DB: database } })
    expect(answer.status).toBe(200)
    expect(statements).toHaveLength(1)
  })

  it('is good for 15 minutes, and not at their end', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(Math.ceil(Date.now() / 1000) * 1000)
    const { token } = await makeUser()
    const start = Date.now()
    vi.setSystemTime(start + 899_999)
    expect((await call('GET', '/v1/me', { token })).status).toBe(200)
    vi.setSystemTime(start + 900_000)
    expectProblem(await call('GET', '/v1/me', { token }), 401, 'expired')
  })

  it.each([
    { when: 'a millisecond before', msLeft: 1, status: 201 },
    { when: 'at', msLeft: 0, status: 401 },
  ])(
    'a body that has come in $when the end of its access token is answered $status',
    async ({ msLeft, status }) => {
      const { id, token } = await makeUser()
      const end = inSeconds(60) * 1000
      const body = new TextEncoder().encode(JSON.stringify({ name: 'trickled' }))
      const source = {
        pull(controller: ReadableStreamDefaultController) {
          setClock(end - msLeft)
          controller.enqueue(body)
          controller.close()
        },
      }
      const answer = await call('POST', '/v1/devices', {
        // Nothing is pulled before somebody reads.
        raw: new ReadableStream(source, { highWaterMark: 0 }),
        headers: { 'Content-Type': 'application/json' },
        token: await resigned(token, { exp: end / 1000 }),
      })
      expect(answer.status).toBe(status)
      expect(await countRows('devices', 'user_id = ?', id)).toBe(status === 201 ? 1 : 0)
    },
  )

  it('from a clock a little ahead is good', async () => {
    const token = await resigned(user.token, { iat: inSeconds(50) })
    expect((await call('GET', '/v1/me', { token })).status).toBe(200)
  })

  it('is good for its user in any ring that still lists its key', async () => {
    const keys: { keys: unknown[] } = JSON.parse(env.SIGNING_KEYS)
    const fresh = { keys: [await strangersKey('fresh'), ...keys.keys] }
    const rotated = { ...env, SIGNING_KEYS: JSON.stringify(fresh) }
    expect((await call('GET', '/v1/me', { token: user.token, env: rotated })).status).toBe(200)
    const dropped = { ...env, SIGNING_KEYS: JSON.stringify({ keys: fresh.keys.slice(0, 1) }) }
    const refused = await call('GET', '/v1/me', { token: user.token, env: dropped })
    expectProblem(refused, 401, 'invalid_credential')
  })

  it('takes a role from the database and not from the token', async () => {
    const token = await resigned(user.token, { role: 'admin' })
    expect((await call('GET', '/v1/me', { token })).body).toMatchObject({ role: 'user' })
    await execute("update users set role = 'admin' where id = ?", user.id)
    expect((await call('GET', '/v1/me', { token })).body).toMatchObject({ role: 'admin' })
  })

  it.each(['bearer', 'BEARER'])('may come under the scheme %s', async (scheme) => {
    const headers = { Authorization: `${scheme} ${user.token}` }
    expect((await call('GET', '/v1/me', { headers })).status).toBe(200)
  })

  it('is not taken from the query string', async () => {
    const answer = await call('GET', `/v1/me?access_token=${user.token}`)
    expectProblem(answer, 401, 'missing_credential')
  })
})

function textOf({ text }: { readonly text: string }): string {
  return text
}

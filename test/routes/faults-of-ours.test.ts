import { runInDurableObject } from 'cloudflare:test'
import { env, exports } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { call } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { makeLimitedDevice, setUpVerifier, stateOf, watchStates } from '../support/limits.ts'
import { execute } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const LIMITS = { rate_limit: { limit: 5, window_seconds: 3600 } }

/** The tests' environment with a database whose statements about secrets meet this error. */
const withSecretsFailing = (message: string): Env => ({
  ...env,
  DB: tapDatabase(env.DB, async (texts, run) => {
    if (texts.some((text) => text.includes('"key_secrets"'))) throw new Error(message)
    return await run()
  }),
})

const dropTable = async (device: { readonly id: string }, table: string) =>
  await runInDurableObject(stateOf(device), (_, { storage }) => {
    storage.sql.exec(`drop table ${table}`)
  })

afterEach(() => {
  vi.restoreAllMocks()
})

describe('a bug of ours about D1', () => {
  it('is a 500 where a row holds what cannot be read, and the next verify asks D1 again', async () => {
    const device = await makeDevice(await makeUser())
    await execute('update api_keys set scopes = ? where id = ?', '{', device.keyId)
    captureConsole()
    const answer = await call('GET', '/v1/device', { token: device.secret })
    expectProblem(answer, 500, 'internal_error')
    await execute('update api_keys set scopes = ? where id = ?', '[]', device.keyId)
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
  })

  it.each([
    'D1_ERROR: no such table: key_secrets: SQLITE_ERROR',
    'D1_ERROR: no such column: nope at offset 7: SQLITE_ERROR',
    'D1_ERROR: near "selct": syntax error at offset 0: SQLITE_ERROR',
    'D1_ERROR: too many SQL variables: SQLITE_ERROR',
    'D1_ERROR: datatype mismatch: SQLITE_MISMATCH',
    'D1_ERROR: Wrong number of parameter bindings for SQL query.',
    "D1_TYPE_ERROR: Type 'object' not supported for value 'hunter2'",
    'D1_ERROR: NOT NULL constraint failed: users.id: SQLITE_CONSTRAINT',
    'D1_ERROR: audit_events is append-only: SQLITE_CONSTRAINT',
  ])('is a 500 with a line of what D1 said, and shuts no gate: %s', async (message) => {
    const device = await makeDevice(await makeUser())
    const lines = captureConsole()
    const broken = withSecretsFailing(message)
    const answer = await call('GET', '/v1/device', { token: device.secret, env: broken })
    expectProblem(answer, 500, 'internal_error')
    const id = answer.headers.get('x-request-id')
    const database = message.replace(" for value 'hunter2'", '')
    expect(eventsOf(lines, 'failure')).toMatchObject([{ id, code: 'internal_error', database }])
    expect(answer.text + JSON.stringify(lines)).not.toContain('hunter2')
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
  })

  it.each([
    'D1_ERROR: Network connection lost.',
    'D1_ERROR: D1 DB is overloaded. Requests queued for too long.',
    'D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.',
    'D1_ERROR: internal error; reference = 0123',
    'D1_ERROR: disk I/O error: SQLITE_IOERR',
    'D1_ERROR: database is locked: SQLITE_BUSY',
  ])('is told from an outage: %s', async (message) => {
    const { token } = await makeUser()
    captureConsole()
    const broken = { ...env, DB: tapDatabase(env.DB, () => Promise.reject(new Error(message))) }
    expectProblem(await call('GET', '/v1/me', { token, env: broken }), 503, 'unavailable')
  })

  it('over RPC is unavailable, and its line says internal_error and what D1 said', async () => {
    const device = await makeDevice(await makeUser())
    await execute('alter table key_secrets rename to key_secrets_gone')
    const lines = captureConsole()
    try {
      const verified = await exports.KeyVerifier.verify(device.secret, {
        owner: 'any',
        fresh: true,
      })
      expect(verified).toEqual({ valid: false, code: 'unavailable', retry_after: 5 })
    } finally {
      await execute('alter table key_secrets_gone rename to key_secrets')
    }
    expect(eventsOf(lines, 'failure')).toMatchObject([
      { id: 'rpc', code: 'internal_error', database: expect.stringContaining('no such table') },
    ])
    expect(await exports.KeyVerifier.verify(device.secret, { owner: 'any' })).toMatchObject({
      valid: true,
    })
  })
})

describe.each(['closed', 'open'] as const)('LIMITER_FAILURE=%s', (mode) => {
  it('is no answer to a bug in the object: 500, one call, and no line of an outage', async () => {
    const device = await makeLimitedDevice(await makeUser(), LIMITS)
    expect((await call('GET', '/v1/device', { token: device.secret })).status).toBe(200)
    await dropTable(device, 'meters')
    const lines = captureConsole()
    const { env: world, calls } = watchStates(undefined, { LIMITER_FAILURE: mode })
    const answer = await call('GET', '/v1/device', { token: device.secret, env: world })
    expectProblem(answer, 500, 'internal_error')
    expect(calls).toHaveLength(1)
    expect(eventsOf(lines, 'meter-failure')).toEqual([])
    expect(eventsOf(lines, 'failure')).toMatchObject([{ code: 'internal_error' }])
  })

  it('is no answer to a bug on the way to the object, at any door', async () => {
    const { verify, device } = await setUpVerifier(LIMITS)
    const lines = captureConsole()
    const bug = watchStates(() => Promise.reject(new TypeError('x is not a function')), {
      LIMITER_FAILURE: mode,
    })
    expectProblem(await verify({}, { env: bug.env }), 500, 'internal_error')
    const body = { api_key: device.secret }
    const classic = await call('POST', '/device/check-in', { body, env: bug.env })
    expect(classic.status).toBe(500)
    expect(eventsOf(lines, 'meter-failure')).toEqual([])
  })

  it.each([
    ['retryable', 'the object moved'],
    ['overloaded', 'Durable Object is overloaded.'],
    ['durableObjectReset', 'Durable Object reset because its code was updated.'],
    ['unmarked', 'internal error; reference = 0123'],
    ['unmarked', 'Network connection lost.'],
    ['unmarked', 'Exceeded allowed duration in Durable Objects free tier.'],
    ['unmarked', 'Your account is generating too much load on Durable Objects. Please back off.'],
    ['unmarked', 'Durable Object exceeded its CPU time limit which caused object to be reset.'],
  ])('decides over an outage, whose error is %s: %s', async (mark, message) => {
    const device = await makeLimitedDevice(await makeUser(), LIMITS)
    const lines = captureConsole()
    const error = Object.assign(new Error(message), { [mark]: true })
    const down = watchStates(() => Promise.reject(error), { LIMITER_FAILURE: mode })
    const answer = await call('GET', '/v1/device', { token: device.secret, env: down.env })
    expect(answer.status).toBe(mode === 'open' ? 200 : 503)
    expect(eventsOf(lines, 'meter-failure')).toHaveLength(1)
  })
})

describe('a bug in the object of a device', () => {
  it('is a 500 where its check-ins are read or written, and no outage', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    await stateOf(device).checkIn(null)
    await dropTable(device, 'check_in')
    captureConsole()
    const body = { report: {} }
    const checkIn = await call('POST', '/v1/device/check-ins', { token: device.secret, body })
    expectProblem(checkIn, 500, 'internal_error')
    const read = await call('GET', `/v1/devices/${device.id}`, { token: user.token })
    expectProblem(read, 500, 'internal_error')
  })
})

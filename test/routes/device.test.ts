import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { badDeviceSecrets } from '../support/bad-credentials.ts'
import { call, pick } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { expectProblem, TIME } from '../support/expectations.ts'
import { makeDevice, makeUser, markUsed } from '../support/fixtures.ts'
import { KEY_KINDS, makeLimitedDevice } from '../support/limits.ts'
import { rowsOf } from '../support/rows.ts'
import { forgedFrom } from '../support/tokens.ts'

type Headers = Readonly<Record<string, string>>

/** The places that every route takes a secret from. */
const PLACES: readonly (readonly [string, (secret: string) => Headers])[] = [
  ['Authorization: Bearer', (secret) => ({ Authorization: `Bearer ${secret}` })],
  ['Authorization: bearer', (secret) => ({ Authorization: `bearer ${secret}` })],
  ['Authorization: ApiKey', (secret) => ({ Authorization: `ApiKey ${secret}` })],
  ['X-API-Key', (secret) => ({ 'X-API-Key': secret })],
]

describe.each(KEY_KINDS)('the cost of a call with %s', (_, limits) => {
  it('is one statement for a genuine secret and none for a forged one', async () => {
    const device = await makeLimitedDevice(await makeUser(), limits)
    await markUsed(device)
    const counted = countStatements(env.DB)
    const wrapped = { ...env, DB: counted.database }

    const genuine = await call('GET', '/v1/device', { token: device.secret, env: wrapped })
    expect(genuine.status).toBe(200)
    expect(counted.statements).toHaveLength(1)

    const forged = await call('GET', '/v1/device', {
      token: forgedFrom(device.secret),
      env: wrapped,
    })
    expect(forged.status).toBe(401)
    expect(forged.body).toMatchObject({ code: 'invalid_credential' })
    expect(counted.statements).toHaveLength(1)
  })

  it('is none for whatever else was never issued', async () => {
    const { secret } = await makeLimitedDevice(await makeUser(), limits)
    const { statements, database } = countStatements(env.DB)
    const madeUp = ['x', 'lk_', 'f'.repeat(40), secret.slice(1), `${secret}0`, secret.toUpperCase()]
    for (const token of madeUp) {
      const answer = await call('GET', '/v1/device', { token, env: { ...env, DB: database } })
      expectProblem(answer, 401, 'invalid_credential')
    }
    expect(statements).toEqual([])
  })
})

describe.each(KEY_KINDS)('GET /v1/device with %s', (_, limits) => {
  it.each(PLACES)('says who calls, with the secret in %s', async (_place, headersFor) => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, limits)
    const answer = await call('GET', '/v1/device', { headers: headersFor(device.secret) })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual({
      device: { id: device.id, name: device.name },
      owner: { id: user.id },
      key: {
        id: device.keyId,
        name: 'default',
        scopes: [],
        expires_at: null,
        rate_limit: null,
        quota: null,
        ...limits,
      },
    })
  })

  it('takes nothing from the query string, a cookie or the body', async () => {
    const { secret } = await makeLimitedDevice(await makeUser(), limits)
    const query = `?api_key=${secret}&access_token=${secret}&key=${secret}`
    const asked = await call('GET', `/v1/device${query}`, { headers: { Cookie: `k=${secret}` } })
    expectProblem(asked, 401, 'missing_credential')
    const posted = await call('POST', '/v1/device/check-ins', { body: { api_key: secret } })
    expectProblem(posted, 401, 'missing_credential')
  })

  it('takes one credential, not two, even if they are the same', async () => {
    const { secret } = await makeLimitedDevice(await makeUser(), limits)
    const twice: Headers[] = [
      { Authorization: `Bearer ${secret}`, 'X-API-Key': secret },
      { Authorization: `ApiKey ${secret}`, 'X-API-Key': 'nonsense' },
      { Authorization: `Bearer ${secret}, Bearer ${secret}` },
      { 'X-API-Key': `${secret}, ${secret}` },
    ]
    for (const headers of twice) {
      const answer = await call('GET', '/v1/device', { headers })
      expectProblem(answer, 400, 'several_credentials')
    }
  })

  it.each(PLACES)(
    'refuses what is no good secret in %s, with the reason',
    async (_place, headersFor) => {
      for (const { label, headers, code } of await badDeviceSecrets(limits)) {
        const secret = headers['Authorization']?.replace(/^Bearer ?/, '')
        if (secret === undefined) continue
        const answer = await call('GET', '/v1/device', { headers: headersFor(secret) })
        expect({ label, body: answer.body }).toMatchObject({ label, body: { code } })
        expectProblem(answer, 401, code)
      }
    },
  )

  it.each(['Basic', 'JWT', 'Digest', 'Token'])('knows no scheme %s', async (scheme) => {
    const { secret } = await makeLimitedDevice(await makeUser(), limits)
    const answer = await call('GET', '/v1/device', {
      headers: { Authorization: `${scheme} ${secret}` },
    })
    expectProblem(answer, 401, 'invalid_credential')
  })
})

describe('POST /v1/device/check-ins', () => {
  it('keeps the report in the device’s object, and writes nothing to D1', async () => {
    const user = await makeUser()
    const device = await makeDevice(user)
    await markUsed(device)
    const { statements, database } = countStatements(env.DB)
    const checkIn = async (body: unknown) =>
      await call('POST', '/v1/device/check-ins', {
        token: device.secret,
        body,
        env: { ...env, DB: database },
      })
    const seen = async () => {
      const { body } = await call('GET', `/v1/devices/${device.id}`, { token: user.token })
      return body
    }
    const report = { temperature: 21.5, deep: { list: [null, 'é'] } }
    const first = await checkIn({ report })
    expect([first.status, first.body]).toEqual([201, { received_at: TIME }])
    expect(await seen()).toMatchObject({
      last_seen_at: pick(first.body, 'received_at'),
      last_report: report,
    })
    const second = await checkIn({})
    expect(await seen()).toMatchObject({
      last_seen_at: pick(second.body, 'received_at'),
      last_report: report,
    })
    await checkIn({ report: {} })
    expect(await seen()).toMatchObject({ last_report: {} })

    expect(statements.length).toBeLessThanOrEqual(3)
    for (const statement of statements) expect(statement).toMatch(/^select /i)
    const [row] = await rowsOf(
      'select updated_at = created_at as same from devices where id = ?',
      device.id,
    )
    expect(row).toEqual({ same: 1 })
  })

  it('takes no body at all, and keeps devices apart', async () => {
    const user = await makeUser()
    const [one, two] = [await makeDevice(user), await makeDevice(user)]
    expect((await call('POST', '/v1/device/check-ins', { token: one.secret })).status).toBe(201)
    const { body } = await call('GET', `/v1/devices/${two.id}`, { token: user.token })
    expect(body).toMatchObject({ last_seen_at: null, last_report: null })
  })

  it('takes a report of 4 KiB, and not of one byte more', async () => {
    const user = await makeUser()
    const { id, secret } = await makeDevice(user)
    const most = { text: 'x'.repeat(4096 - 11) }
    const send = async (report: unknown) =>
      await call('POST', '/v1/device/check-ins', { token: secret, body: { report } })
    expect((await send(most)).status).toBe(201)
    const over = await send({ text: `${most.text}x` })
    expectProblem(over, 400, 'invalid_request', ['/report'])
    const { body } = await call('GET', `/v1/devices/${id}`, { token: user.token })
    expect(body).toMatchObject({ last_report: most })
  })

  it.each([
    [{ report: [] }, ['/report']],
    [{ report: null }, ['/report']],
    [{ report: 'ok' }, ['/report']],
    [{ reports: {} }, ['/reports']],
    [[], ['']],
  ])('400 for %j', async (body, pointers) => {
    const { secret } = await makeDevice(await makeUser())
    const answer = await call('POST', '/v1/device/check-ins', { token: secret, body })
    expectProblem(answer, 400, 'invalid_request', pointers)
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Answer, call, freshIp, ORIGIN, pick } from '../support/client.ts'
import { askForCodes, postForm } from '../support/claims.ts'
import { captureConsole } from '../support/console.ts'
import { fakeLimiter, withFailingDatabase } from '../support/environments.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { countRows, dumpDatabase, execute, rowsOf } from '../support/rows.ts'
import { forgedFrom } from '../support/tokens.ts'

const PATH = '/oauth/device_authorization'

afterEach(() => {
  vi.restoreAllMocks()
})

/** RFC 6749 §5.2. */
function expectOAuthError(answer: Answer, error: string, status = 400): void {
  expect({ status: answer.status, body: answer.body }).toEqual({
    status,
    body: {
      error,
      error_description: expect.stringMatching(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/),
    },
  })
  expect(answer.headers.get('content-type')).toBe('application/json')
  expect(answer.headers.get('cache-control')).toBe('no-store')
}

function basic(name: string, password: string) {
  const encoded = Buffer.from(`${name}:${password}`).toString('base64')
  return { headers: { Authorization: `Basic ${encoded}` } }
}

describe('POST /oauth/device_authorization', () => {
  it('RFC 8628 §3.2: answers the codes, where to type one, and for how long', async () => {
    const answer = await postForm(PATH, { client_id: 'acme' })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const shown = pick(answer.body, 'user_code')
    expect(shown).toMatch(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
    expect(answer.body).toEqual({
      device_code: expect.stringMatching(/^lkd-[0-9A-Za-z]{40}$/),
      user_code: shown,
      verification_uri: `${ORIGIN}/claim`,
      verification_uri_complete: `${ORIGIN}/claim?user_code=${shown}`,
      expires_in: 600,
      interval: 5,
    })
  })

  it('keeps what the device says of itself, whence it came, and no code', async () => {
    const fields = { client_id: 'acme', scope: 'a:b c:* a:b', device_name: 'Cafe\u0301' }
    const headers = { 'CF-Connecting-IP': '192.0.2.55' }
    const { deviceCode, userCode } = await askForCodes(fields, { headers })
    const [row] = await rowsOf('select * from device_claims where ip = ?', '192.0.2.55')
    expect(row).toMatchObject({
      id: expect.stringMatching(/^claim_/),
      client_id: 'acme',
      scopes: '["a:b","c:*"]',
      device_name: 'Café',
      interval_seconds: 5,
      decided_at: null,
    })
    expect(Number(row?.['expires_at']) - Number(row?.['created_at'])).toBe(600_000)
    const dump = await dumpDatabase()
    for (const code of [deviceCode, userCode, userCode.replace('-', '')]) {
      expect(dump).not.toContain(code)
    }
  })

  it.each([
    ['one character', 'a'],
    ['64', 'x'.repeat(64)],
    ['all that is visible', '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'],
  ])('takes a client_id of %s', async (_, id) => {
    expect((await postForm(PATH, { client_id: id })).status).toBe(200)
  })

  it.each([
    ['client_id missing', 'scope=a'],
    ['client_id empty', 'client_id='],
    ['client_id of 65 characters', `client_id=${'x'.repeat(65)}`],
    ['client_id with a space', 'client_id=a+b'],
    ['client_id with é', 'client_id=%C3%A9'],
    ['client_id with a control character', 'client_id=a%00'],
    ['client_id sent twice (RFC 6749 §3.2)', 'client_id=a&client_id=a'],
    ['scope sent twice (RFC 6749 §3.2)', 'client_id=a&scope=a&scope=b'],
    ['an unknown parameter sent twice (RFC 6749 §3.2)', 'client_id=a&x=1&x='],
    ['a bidi override in device_name', 'client_id=a&device_name=a%E2%80%AE'],
    ['81 characters of device_name', `client_id=a&device_name=${'x'.repeat(81)}`],
    ['nothing', ''],
  ])('invalid_request: %s', async (_, fields) => {
    const count = await countRows('device_claims', 'true')
    expectOAuthError(await postForm(PATH, fields), 'invalid_request')
    expect(await countRows('device_claims', 'true')).toBe(count)
  })

  it.each([
    'keys:verify',
    'keys:verify-all',
    'keys:*',
    'keys:x',
    'a keys:verify',
    'a,b',
    'a:',
    '**',
  ])('invalid_scope: %s', async (scope) => {
    expectOAuthError(await postForm(PATH, { client_id: 'a', scope }), 'invalid_scope')
  })

  it('invalid_scope: more than 64, or one of more than 128 characters', async () => {
    const many = Array.from({ length: 65 }, (_, index) => `s${index}`).join(' ')
    expectOAuthError(await postForm(PATH, { client_id: 'a', scope: many }), 'invalid_scope')
    const long = 'x'.repeat(129)
    expectOAuthError(await postForm(PATH, { client_id: 'a', scope: long }), 'invalid_scope')
  })

  it('RFC 6749 §3.1: takes an empty parameter for none, and ignores unknown ones', async () => {
    const { userCode } = await askForCodes({ scope: '', device_name: '', zeta: '1' })
    expect(userCode).toMatch(/-/)
  })

  it('RFC 6749 §2.3.1: takes nothing from the query', async () => {
    const answer = await postForm(`${PATH}?client_id=a`, { client_id: 'a' })
    expectOAuthError(answer, 'invalid_request')
  })

  it.each(['application/json', 'text/plain', 'multipart/form-data; boundary=x', ''])(
    'invalid_request: the media type %j',
    async (type) => {
      const headers = { 'Content-Type': type }
      const answer = await postForm(PATH, { client_id: 'a' }, { headers })
      expectOAuthError(answer, 'invalid_request')
    },
  )

  it('takes the media type in any case, with a charset', async () => {
    const headers = { 'Content-Type': 'Application/X-WWW-Form-Urlencoded; charset=UTF-8' }
    expect((await postForm(PATH, { client_id: 'a' }, { headers })).status).toBe(200)
  })

  it('invalid_request: without a body, and with one over 64 KiB', async () => {
    expectOAuthError(await call('POST', PATH), 'invalid_request')
    const big = await postForm(PATH, { client_id: 'a', x: 'x'.repeat(65_536) })
    expectOAuthError(big, 'invalid_request', 413)
  })

  it('RFC 8628 §3.1: an existing client asks under its own id, with a good credential', async () => {
    const { id, secret } = await makeDevice(await makeUser())
    for (const [fields, options] of [
      [{}, basic(id, secret)],
      [{ client_id: id }, basic(id, secret)],
      [{ client_id: id }, basic(id.replace('_', '%5F'), secret)],
      [{ client_id: id, client_secret: secret }, {}],
    ] as const) {
      expect((await postForm(PATH, fields, options)).status).toBe(200)
    }
    expect(await countRows('device_claims', 'client_id = ?', id)).toBe(4)
    const both = { client_id: id, client_secret: secret }
    expectOAuthError(await postForm(PATH, both, basic(id, secret)), 'invalid_request')
    const another = await postForm(PATH, { client_id: 'acme' }, basic(id, secret))
    expectOAuthError(another, 'invalid_request')
    const foreign = await makeDevice(await makeUser())
    for (const [fields, options] of [
      [{}, basic(id, forgedFrom(secret))],
      [{}, basic(id, foreign.secret)],
      [{}, basic('', secret)],
      [{}, { headers: { Authorization: 'Basic ?' } }],
      [{ client_id: 'acme' }, { headers: { Authorization: `Bearer ${secret}` } }],
      [{ client_id: id, client_secret: 'wrong' }, {}],
      [{ client_secret: secret }, {}],
    ] as const) {
      const answer = await postForm(PATH, fields, options)
      expectOAuthError(answer, 'invalid_client', 401)
      expect(answer.headers.get('www-authenticate')).toBe('Basic realm="latchkey"')
    }
    expect(await countRows('device_claims', 'client_id = ?', id)).toBe(4)
  })

  it('is limited by address, before it writes', async () => {
    const limiter = fakeLimiter(1)
    const limited = { ...env, CLAIM_LIMITER_IP: limiter }
    const ip = { 'CF-Connecting-IP': '2001:db8::1' }
    const neighbour = { 'CF-Connecting-IP': '2001:db8::2' }
    await askForCodes({}, { env: limited, headers: ip })
    const count = await countRows('device_claims', 'true')
    const refused = await postForm(PATH, { client_id: 'a' }, { env: limited, headers: neighbour })
    expectOAuthError(refused, 'temporarily_unavailable', 429)
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(await countRows('device_claims', 'true')).toBe(count)
    expect(new Set(limiter.charged).size).toBe(1)
  })

  it('is limited to 10 a minute by the real limiter', async () => {
    const headers = { 'CF-Connecting-IP': freshIp() }
    for (let attempt = 1; attempt <= 10; attempt += 1) await askForCodes({}, { headers })
    expect((await postForm(PATH, { client_id: 'a' }, { headers })).status).toBe(429)
  })

  it('says temporarily_unavailable while D1 fails', async () => {
    captureConsole()
    const answer = await postForm(PATH, { client_id: 'a' }, { env: withFailingDatabase() })
    expectOAuthError(answer, 'temporarily_unavailable', 503)
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/)
  })

  it('draws again where a user code is taken', async () => {
    await execute('delete from device_claims')
    const real = crypto.getRandomValues.bind(crypto)
    const draws: number[] = []
    vi.spyOn(crypto, 'getRandomValues').mockImplementation((array) => {
      const drawn = real(array)
      if (!(drawn instanceof Uint8Array) || drawn.length !== 8) return drawn
      draws.push(draws.length)
      // BBBB-BBBB for the first two requests, another for the third draw.
      return drawn.fill(draws.length <= 2 ? 0 : 1)
    })
    expect((await askForCodes()).userCode).toBe('BBBB-BBBB')
    expect((await askForCodes()).userCode).toBe('CCCC-CCCC')
    expect(await countRows('device_claims', 'true')).toBe(2)
  })
})

import { createHash } from 'node:crypto'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Answer, call, type CallOptions, freshIp } from '../support/client.ts'
import { askForCodes, type Asker, poll, postForm } from '../support/claims.ts'
import { captureConsole } from '../support/console.ts'
import { fakeLimiter, withFailingDatabase } from '../support/environments.ts'
import { makeDevice, makeUser, PASSWORD, type TestUser } from '../support/fixtures.ts'
import { countRows, rowsOf } from '../support/rows.ts'
import { actionsOf, cheapHashing, makeCheapUser } from '../support/sign-in.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

async function signIn(
  { username }: TestUser,
  { userCode }: Pick<Asker, 'userCode'>,
  options: CallOptions & { readonly password?: string } = {},
): Promise<Answer> {
  const { password = PASSWORD, ...rest } = options
  const fields = { username, password, user_code: userCode }
  return await postForm('/claim', fields, { env: cheapHashing, ...rest })
}

/** The value of a field of the form on a page. */
function fieldOf({ text }: Answer, name: string): string {
  const value = new RegExp(`name="${name}"[^>]* value="([^"]*)"`).exec(text)?.[1]
  if (value === undefined) throw new Error(`no field ${name} in ${text}`)
  return value
}

async function answer(
  shown: Answer,
  fields: Readonly<Record<string, string>>,
  options: CallOptions = {},
): Promise<Answer> {
  const hidden = {
    access_token: fieldOf(shown, 'access_token'),
    user_code: fieldOf(shown, 'user_code'),
  }
  return await postForm('/claim', { ...hidden, ...fields }, options)
}

/** Sessions that a page opened and has not ended. */
async function openSessions(user: TestUser): Promise<number> {
  const open = 'user_id = ? and revoked_at is null and id <> ?'
  return await countRows('sessions', open, user.id, user.sessionId)
}

/** A page with a message, in which nobody is signed in. */
function expectSignInPage(page: Answer, status: number, said: string): void {
  expect(page.status).toBe(status)
  expect(page.text).toContain(said)
  expect(page.text).toContain('role="alert"')
  expect(page.text).toContain('name="password"')
  expect(page.text).not.toContain('access_token')
}

async function setUp(fields: Readonly<Record<string, string>> = {}) {
  return { user: await makeCheapUser(), asker: await askForCodes(fields) }
}

describe('every page of /claim', () => {
  it('lets in its one style and nothing else, is framed by nobody and kept by nobody', async () => {
    const { user, asker } = await setUp()
    const shown = await signIn(user, asker)
    const pages = [
      await call('GET', '/claim'),
      shown,
      await answer(shown, { decision: 'deny' }),
      await signIn(user, { userCode: 'BCDF-GHJK' }),
      await postForm('/claim', { username: 'x' }, { headers: { 'Content-Type': 'text/plain' } }),
    ]
    expect(pages.map(({ status }) => status)).toEqual([200, 200, 200, 404, 400])
    for (const { headers, text } of pages) {
      expect(headers.get('content-type')).toBe('text/html; charset=UTF-8')
      const style = /<style>([\s\S]*)<\/style>/.exec(text)?.[1] ?? ''
      const hash = createHash('sha256').update(style).digest('base64')
      expect(headers.get('content-security-policy')).toBe(
        `default-src 'none'; style-src 'sha256-${hash}'; form-action 'self'; ` +
          "frame-ancestors 'none'; base-uri 'none'",
      )
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.has('set-cookie')).toBe(false)
      expect(text).not.toMatch(/<script|\son\w+=|style=|src=|href=/)
      expect(text).toMatch(/^<!doctype html><html lang="en">/)
    }
  })

  it('is a page also while D1 fails', async () => {
    captureConsole()
    const user = await makeCheapUser()
    const page = await signIn(user, { userCode: 'BCDF-GHJK' }, { env: withFailingDatabase() })
    expect(page.status).toBe(503)
    expect(page.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(page.text).toContain('role="alert"')
  })
})

describe('GET /claim', () => {
  it('RFC 8628 §3.3.1: fills in a code from the link, and nothing that is none', async () => {
    expect((await call('GET', '/claim?user_code=bcdfghjk')).text).toContain('value="BCDF-GHJK"')
    for (const query of ['', '?user_code=%22%3E%3Cscript%3E', '?user_code=AAAA-AAAA']) {
      const { status, text } = await call('GET', `/claim${query}`)
      expect(status).toBe(200)
      expect(text).toMatch(/name="user_code"[^>]* value=""/)
      expect(text).not.toContain('script')
    }
  })
})

describe('signing in on the page', () => {
  it('RFC 8628 §5.4: shows what the device says of itself, and whence it asked', async () => {
    const user = await makeCheapUser()
    const asker = await askForCodes(
      { scope: 'telemetry:* b', device_name: '<b>Boiler & co</b>' },
      { headers: { 'CF-Connecting-IP': '192.0.2.44' }, country: 'DE' },
    )
    const { status, text } = await signIn(user, { userCode: asker.userCode.toLowerCase() })
    expect(status).toBe(200)
    expect(text).toContain('Approve only if the device in front of you shows this code')
    for (const shown of [
      asker.userCode,
      '&lt;b&gt;Boiler &amp; co&lt;/b&gt;',
      'acme-thermo-2',
      'telemetry:*',
      '192.0.2.44',
      'not the network you are in',
      'Germany (DE)',
      `<time datetime="${new Date().toISOString().slice(0, 13)}`,
    ]) {
      expect(text).toContain(shown)
    }
    expect(text).not.toContain('<b>')
  })

  it('says when the request came from the own network', async () => {
    const headers = { 'CF-Connecting-IP': freshIp() }
    const asker = await askForCodes({}, { headers, country: 'T1' })
    const { text } = await signIn(await makeCheapUser(), asker, { headers })
    expect(text).toContain('your own network')
    expect(text).toContain('unknown (Tor)')
  })

  it('401 for a wrong password, an unknown user and a disabled one, and asks again', async () => {
    const { user, asker } = await setUp()
    const wrong = await signIn(user, asker, { password: 'wrong' })
    expectSignInPage(wrong, 401, 'Unknown username or wrong password.')
    expect(fieldOf(wrong, 'user_code')).toBe(asker.userCode)
    const nobody = await signIn({ ...user, username: 'nobody-at-all' }, asker)
    expect(nobody.text).toBe(wrong.text)
    await env.DB.prepare('update users set disabled_at = 1 where id = ?').bind(user.id).run()
    expectSignInPage(await signIn(user, asker), 401, 'This account is disabled.')
  })

  it('400 where a field is missing, sent twice or in the query', async () => {
    const { user, asker } = await setUp()
    const { username } = user
    for (const fields of [{}, { username }, { username, user_code: asker.userCode }]) {
      expectSignInPage(await postForm('/claim', fields), 400, 'Fill in')
    }
    expectSignInPage(await postForm('/claim', 'username=a&username=a'), 400, 'more than once')
    expectSignInPage(await postForm('/claim?password=x', { username }), 400, 'never in the query')
  })

  it('404 for a code that nobody waits with, and the session ends at once', async () => {
    const { user } = await setUp()
    for (const userCode of ['BCDF-GHJK', 'nonsense']) {
      expectSignInPage(await signIn(user, { userCode }), 404, 'No device waits under this code')
    }
    expect(await openSessions(user)).toBe(0)
  })

  it('opens a session that is over with its access token', async () => {
    const { user, asker } = await setUp()
    await signIn(user, asker)
    const [session] = await rowsOf(
      'select created_at, expires_at from sessions where user_id = ? and id <> ?',
      user.id,
      user.sessionId,
    )
    expect(Number(session?.['expires_at']) - Number(session?.['created_at'])).toBe(900_000)
  })

  it('is charged as a password door, before the hash', async () => {
    const { user, asker } = await setUp()
    const limiters = {
      PASSWORD_LIMITER_IP: fakeLimiter(1),
      PASSWORD_LIMITER_USERNAME: fakeLimiter(9),
    }
    const options = {
      env: { ...cheapHashing, ...limiters },
      headers: { 'CF-Connecting-IP': freshIp() },
    }
    expect((await signIn(user, asker, options)).status).toBe(200)
    const refused = await signIn(user, asker, options)
    expectSignInPage(refused, 429, 'Too many attempts')
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(limiters.PASSWORD_LIMITER_USERNAME.charged).toHaveLength(1)
  })

  it('RFC 8628 §5.1: is charged for the code, too', async () => {
    const { user, asker } = await setUp()
    const limited = { ...cheapHashing, CLAIM_LIMITER_USER: fakeLimiter(1) }
    expect((await signIn(user, asker, { env: limited })).status).toBe(200)
    expectSignInPage(await signIn(user, asker, { env: limited }), 429, 'Too many attempts')
    expect(await openSessions(user)).toBe(1)
  })
})

describe('answering on the page', () => {
  it('approves with a name and fewer scopes, and the device gets its key', async () => {
    const { user, asker } = await setUp({ scope: 'a:* b' })
    const shown = await signIn(user, asker)
    const fields = { decision: 'approve', name: 'My boiler', 'scope.1': fieldOf(shown, 'scope.1') }
    const done = await answer(shown, fields)
    expect(done.status).toBe(200)
    expect(done.text).toContain('<h1>Approved</h1>')
    expect(done.text).toContain('My boiler')
    expect(done.text).not.toContain('access_token')
    expect(await openSessions(user)).toBe(0)
    const result = await poll(asker)
    expect(result).toMatchObject({ ok: true, value: { scopes: ['b'] } })
    const names = await rowsOf('select name from devices where user_id = ?', user.id)
    expect(names).toEqual([{ name: 'My boiler' }])
    expect(await actionsOf(user)).toEqual([
      'session.created',
      'claim.approved',
      'session.ended',
      'device.created',
    ])
  })

  it('gives the scopes that were typed where none was asked for', async () => {
    const { user, asker } = await setUp()
    const shown = await signIn(user, asker)
    await answer(shown, { decision: 'approve', name: 'x', scopes: ' a:b  c ' })
    expect(await poll(asker)).toMatchObject({ ok: true, value: { scopes: ['a:b', 'c'] } })
  })

  it('denies', async () => {
    const { user, asker } = await setUp()
    const done = await answer(await signIn(user, asker), { decision: 'deny' })
    expect(done.text).toContain('<h1>Denied</h1>')
    expect(await openSessions(user)).toBe(0)
    expect(await poll(asker)).toEqual({ ok: false, reason: 'access_denied' })
  })

  it('asks again for what cannot be taken, and decides nothing', async () => {
    const { user, asker } = await setUp({ scope: 'a' })
    const shown = await signIn(user, asker)
    for (const fields of [
      { decision: 'approve', name: 'x'.repeat(81) },
      { decision: 'approve' },
      { decision: 'approve', name: 'x', 'scope.0': '*' },
      { decision: 'approve', name: 'x', 'scope.0': 'a b' },
      { decision: 'maybe' },
      {},
    ]) {
      const again = await answer(shown, fields)
      expect(again.status).toBe(400)
      expect(again.text).toContain('role="alert"')
      expect(fieldOf(again, 'access_token')).toBe(fieldOf(shown, 'access_token'))
    }
    expect(await poll(asker)).toEqual({ ok: false, reason: 'authorization_pending' })
    expect((await answer(shown, { decision: 'deny' })).text).toContain('Denied')
  })

  it('404 where another was first, and the session ends', async () => {
    const { user, asker } = await setUp()
    const other = await makeCheapUser()
    const [mine, theirs] = [await signIn(user, asker), await signIn(other, asker)]
    await answer(theirs, { decision: 'deny' })
    expectSignInPage(await answer(mine, { decision: 'approve', name: 'x' }), 404, 'No device waits')
    expect(await openSessions(user)).toBe(0)
  })

  it("401 for a token that is ended, made up, or a device's secret", async () => {
    const { user, asker } = await setUp()
    const shown = await signIn(user, asker)
    await answer(shown, { decision: 'deny' })
    const { secret } = await makeDevice(await makeUser())
    for (const token of [fieldOf(shown, 'access_token'), 'made-up', secret]) {
      const fields = {
        access_token: token,
        user_code: asker.userCode,
        decision: 'approve',
        name: 'x',
      }
      expectSignInPage(await postForm('/claim', fields), 401, 'Sign in again')
    }
  })

  it('401 once the token has expired', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { user, asker } = await setUp()
    const shown = await signIn(user, asker)
    vi.setSystemTime(Date.now() + 900_000)
    expectSignInPage(await answer(shown, { decision: 'deny' }), 401, 'Sign in again')
  })
})

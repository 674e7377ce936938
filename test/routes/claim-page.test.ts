import { createHash } from 'node:crypto'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  answer,
  expectSignInPage,
  fieldOf,
  openSessions,
  setUp,
  signInOnPage,
} from '../support/claim-page.ts'
import { askForCodes, postForm } from '../support/claims.ts'
import { call, freshIp } from '../support/client.ts'
import { captureConsole } from '../support/console.ts'
import { fakeLimiter, withFailingDatabase } from '../support/environments.ts'
import { rowsOf } from '../support/rows.ts'
import { cheapHashing, makeCheapUser } from '../support/sign-in.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

describe('every page of /claim', () => {
  it('lets in its one style and nothing else, is framed by nobody and kept by nobody', async () => {
    const { user, asker } = await setUp()
    const shown = await signInOnPage(user, asker)
    const pages = [
      await call('GET', '/claim'),
      shown,
      await answer(shown, { decision: 'deny' }),
      await signInOnPage(user, { userCode: 'BCDF-GHJK' }),
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
      expect(headers.get('referrer-policy')).toBe('same-origin')
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
    const page = await signInOnPage(user, { userCode: 'BCDF-GHJK' }, { env: withFailingDatabase() })
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
    const { status, text } = await signInOnPage(user, { userCode: asker.userCode.toLowerCase() })
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

  it('ticks what is asked for by name, and no wildcard, of which it says what that covers', async () => {
    const { user, asker } = await setUp({ scope: '* telemetry:* a:b:* c:d' })
    const { text } = await signInOnPage(user, asker)
    const boxOf = (scope: string) => text.split('<label>').find((box) => box.includes(scope)) ?? ''
    expect(boxOf('value="c:d"')).toContain(' checked')
    expect(boxOf('value="c:d"')).not.toContain('everything')
    for (const [scope, reach] of [
      ['*', '(everything)'],
      ['telemetry:*', '(everything under telemetry:)'],
      ['a:b:*', '(everything under a:b:)'],
    ] as const) {
      expect(boxOf(`value="${scope}"`)).not.toContain(' checked')
      expect(boxOf(`value="${scope}"`)).toContain(reach)
    }
  })

  it('says when the request came from the own network', async () => {
    const headers = { 'CF-Connecting-IP': freshIp() }
    const asker = await askForCodes({}, { headers, country: 'T1' })
    const { text } = await signInOnPage(await makeCheapUser(), asker, { headers })
    expect(text).toContain('your own network')
    expect(text).toContain('unknown (Tor)')
  })

  it('401 for a wrong password, an unknown user and a disabled one, and asks again', async () => {
    const { user, asker } = await setUp()
    const wrong = await signInOnPage(user, asker, { password: 'wrong' })
    expectSignInPage(wrong, 401, 'Unknown username or wrong password.')
    expect(fieldOf(wrong, 'user_code')).toBe(asker.userCode)
    const nobody = await signInOnPage({ ...user, username: 'nobody-at-all' }, asker)
    expect(nobody.text).toBe(wrong.text)
    await env.DB.prepare('update users set disabled_at = 1 where id = ?').bind(user.id).run()
    expectSignInPage(await signInOnPage(user, asker), 401, 'This account is disabled.')
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
      expectSignInPage(
        await signInOnPage(user, { userCode }),
        404,
        'No device waits under this code',
      )
    }
    expect(await openSessions(user)).toBe(0)
  })

  it('opens a session that is over with its access token', async () => {
    const { user, asker } = await setUp()
    await signInOnPage(user, asker)
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
    expect((await signInOnPage(user, asker, options)).status).toBe(200)
    const refused = await signInOnPage(user, asker, options)
    expectSignInPage(refused, 429, 'Too many attempts')
    expect(refused.headers.get('retry-after')).toBe('60')
    expect(limiters.PASSWORD_LIMITER_USERNAME.charged).toHaveLength(1)
  })

  it('RFC 8628 §5.1: is charged for the code, too', async () => {
    const { user, asker } = await setUp()
    const limited = { ...cheapHashing, CLAIM_LIMITER_USER: fakeLimiter(1) }
    expect((await signInOnPage(user, asker, { env: limited })).status).toBe(200)
    expectSignInPage(await signInOnPage(user, asker, { env: limited }), 429, 'Too many attempts')
    expect(await openSessions(user)).toBe(1)
  })
})

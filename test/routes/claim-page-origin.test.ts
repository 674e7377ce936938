import { describe, expect, it } from 'vitest'
import { answer, setUp, signInOnPage } from '../support/claim-page.ts'
import { poll, postForm } from '../support/claims.ts'
import { type Answer, call, ORIGIN } from '../support/client.ts'
import { fakeLimiter } from '../support/environments.ts'
import { cheapHashing } from '../support/sign-in.ts'

type Headers = Readonly<Record<string, string>>

/** What browsers send with a form of another page, and with what is none of theirs. */
const FOREIGN: readonly Headers[] = [
  { 'Sec-Fetch-Site': 'cross-site' },
  { 'Sec-Fetch-Site': 'same-site' },
  { 'Sec-Fetch-Site': 'cross-site', Origin: ORIGIN },
  { 'Sec-Fetch-Site': 'same-origin, cross-site' },
  { 'Sec-Fetch-Site': '' },
  { Origin: 'https://evil.example' },
  { Origin: 'https://sub.latchkey.example' },
  { Origin: 'http://latchkey.example' },
  { Origin: `${ORIGIN}:8443` },
  { Origin: `${ORIGIN}, https://evil.example` },
  { Origin: 'null' },
]

const OWN: readonly Headers[] = [
  {},
  { 'Sec-Fetch-Site': 'same-origin', Origin: ORIGIN },
  // Under another name of the deployment, as with wrangler dev.
  { 'Sec-Fetch-Site': 'same-origin', Origin: 'http://127.0.0.1:8787' },
  { 'Sec-Fetch-Site': 'none' },
  { Origin: ORIGIN },
]

function expectForeign({ status, headers, text }: Answer): void {
  expect(status).toBe(403)
  expect(headers.get('content-type')).toBe('text/html; charset=UTF-8')
  expect(headers.get('content-security-policy')).toContain("default-src 'none'")
  expect(text).toContain('<h1>The form came from another site</h1>')
}

function withLimiters() {
  const limiters = {
    PASSWORD_LIMITER_IP: fakeLimiter(99),
    PASSWORD_LIMITER_USERNAME: fakeLimiter(99),
    CLAIM_LIMITER_USER: fakeLimiter(99),
  }
  const chargesOf = () => Object.values(limiters).flatMap(({ charged }) => charged)
  return { env: { ...cheapHashing, ...limiters }, chargesOf }
}

describe("a form of another site's page", () => {
  it.each(FOREIGN)('is refused at both steps before a limiter is charged: %j', async (headers) => {
    const { user, asker } = await setUp()
    const shown = await signInOnPage(user, asker)
    const { env, chargesOf } = withLimiters()
    expectForeign(await signInOnPage(user, asker, { env, headers }))
    expectForeign(await answer(shown, { decision: 'approve', name: 'x' }, { env, headers }))
    expect(chargesOf()).toEqual([])
    expect(await poll(asker)).toEqual({ ok: false, reason: 'authorization_pending' })
  })

  it('is refused before its body is read', async () => {
    const headers = { 'Sec-Fetch-Site': 'cross-site' }
    expectForeign(await postForm('/claim', { password: 'x'.repeat(70_000) }, { headers }))
    const encoded = { ...headers, 'Content-Encoding': 'gzip' }
    expectForeign(await postForm('/claim', 'x', { headers: encoded }))
  })
})

describe("the page's own form", () => {
  it.each(OWN)('is taken with %j', async (headers) => {
    const { user, asker } = await setUp()
    const shown = await signInOnPage(user, asker, { headers })
    expect(shown.status).toBe(200)
    expect((await answer(shown, { decision: 'deny' }, { headers })).status).toBe(200)
  })

  it('may be reached by a link from another site', async () => {
    const headers = { 'Sec-Fetch-Site': 'cross-site' }
    expect((await call('GET', '/claim', { headers })).status).toBe(200)
  })
})

import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  answer,
  expectSignInPage,
  fieldOf,
  openSessions,
  setUp,
  signInOnPage,
} from '../support/claim-page.ts'
import { poll, postForm } from '../support/claims.ts'
import { call } from '../support/client.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { pathOf, routesFor } from '../support/route-table.ts'
import { rowsOf } from '../support/rows.ts'
import { actionsOf, makeCheapUser } from '../support/sign-in.ts'
import { claimsOf } from '../support/tokens.ts'

afterEach(() => {
  vi.useRealTimers()
})

describe('answering on the page', () => {
  it('approves with a name and fewer scopes, and the device gets its key', async () => {
    const { user, asker } = await setUp({ scope: 'a:* b' })
    const shown = await signInOnPage(user, asker)
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
    const shown = await signInOnPage(user, asker)
    await answer(shown, { decision: 'approve', name: 'x', scopes: ' a:b  c ' })
    expect(await poll(asker)).toMatchObject({ ok: true, value: { scopes: ['a:b', 'c'] } })
  })

  it('denies', async () => {
    const { user, asker } = await setUp()
    const done = await answer(await signInOnPage(user, asker), { decision: 'deny' })
    expect(done.text).toContain('<h1>Denied</h1>')
    expect(await openSessions(user)).toBe(0)
    expect(await poll(asker)).toEqual({ ok: false, reason: 'access_denied' })
  })

  it('asks again for what cannot be taken, and decides nothing', async () => {
    const { user, asker } = await setUp({ scope: 'a' })
    const shown = await signInOnPage(user, asker)
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
    const [mine, theirs] = [await signInOnPage(user, asker), await signInOnPage(other, asker)]
    await answer(theirs, { decision: 'deny' })
    expectSignInPage(await answer(mine, { decision: 'approve', name: 'x' }), 404, 'No device waits')
    expect(await openSessions(user)).toBe(0)
  })

  it("401 for a token that is ended, made up, the API's, or a device's secret", async () => {
    const { user, asker } = await setUp()
    const shown = await signInOnPage(user, asker)
    await answer(shown, { decision: 'deny' })
    const { secret } = await makeDevice(await makeUser())
    for (const token of [fieldOf(shown, 'access_token'), 'made-up', user.token, secret]) {
      const fields = {
        access_token: token,
        user_code: asker.userCode,
        decision: 'approve',
        name: 'x',
      }
      expectSignInPage(await postForm('/claim', fields), 401, 'Sign in again')
    }
  })

  it('is all that the token of its form opens, while its session lives', async () => {
    const { user, asker } = await setUp()
    const token = fieldOf(await signInOnPage(user, asker), 'access_token')
    expect(claimsOf(token)).toMatchObject({ sub: user.id, aud: 'urn:latchkey:claims' })
    for (const route of routesFor('access token')) {
      const path = pathOf(route, () => 'anything')
      const refused = await call(route.method, path, { token, body: route.body })
      expect({ name: route.name, status: refused.status }).toMatchObject({ status: 401 })
    }
    expect(await openSessions(user)).toBe(1)
  })

  it('401 once the token has expired', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { user, asker } = await setUp()
    const shown = await signInOnPage(user, asker)
    vi.setSystemTime(Date.now() + 900_000)
    expectSignInPage(await answer(shown, { decision: 'deny' }), 401, 'Sign in again')
  })
})

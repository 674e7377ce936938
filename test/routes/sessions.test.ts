import { describe, expect, it } from 'vitest'
import { call, pick } from '../support/client.ts'
import { withRace } from '../support/databases.ts'
import { anId, expectProblem, TIME, withoutInstance } from '../support/expectations.ts'
import { makeUser, PASSWORD, setCheapPassword } from '../support/fixtures.ts'
import { countRows, execute, rowsOf } from '../support/rows.ts'
import { actionsOf, makeCheapUser, signIn, TOKENS } from '../support/sign-in.ts'

describe('POST /v1/sessions', () => {
  it('opens a session', async () => {
    const user = await makeCheapUser()
    const answer = await signIn(user)
    expect(answer.status).toBe(201)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.body).toEqual(TOKENS)
    const token = pick(answer.body, 'access_token')
    expect((await call('GET', '/v1/me', { token })).body).toMatchObject({ id: user.id })
    expect(await actionsOf(user)).toEqual(['session.created'])
  })

  it('finds the user by any form of the username', async () => {
    const user = await makeCheapUser()
    expect((await signIn({ ...user, username: user.username.toUpperCase() })).status).toBe(201)
  })

  it('answers the same to an unknown user and to a wrong password', async () => {
    const user = await makeCheapUser()
    const wrong = await signIn(user, 'not the password')
    const unknown = await signIn({ ...user, username: 'nobody-at-all' }, 'not the password')
    expectProblem(wrong, 401, 'invalid_credentials')
    expect(withoutInstance(unknown.body)).toEqual(withoutInstance(wrong.body))
    expect([...unknown.headers.keys()]).toEqual([...wrong.headers.keys()])
    expect(unknown.headers.get('www-authenticate')).toBe(wrong.headers.get('www-authenticate'))
    expect(await actionsOf(user)).toEqual([])
  })

  it('says disabled only to who knows the password', async () => {
    const user = await makeCheapUser()
    await execute('update users set disabled_at = 1 where id = ?', user.id)
    expectProblem(await signIn(user), 401, 'disabled')
    expectProblem(await signIn(user, 'not the password'), 401, 'invalid_credentials')
    expect(await countRows('sessions', 'user_id = ?', user.id)).toBe(1)
  })

  it('a sign-in opens no session if the password was changed while it was checked', async () => {
    const user = await makeCheapUser()
    const racing = withRace(async () => await setCheapPassword(user, 'another password'))
    const body = { username: user.username, password: PASSWORD }
    expect((await call('POST', '/v1/sessions', { body, env: racing })).status).toBe(401)
    expect(await countRows('sessions', 'user_id = ?', user.id)).toBe(1)
    expect(await actionsOf(user)).toEqual([])
    // And the old password, hashed anew, did not take the new one's place.
    expect((await signIn(user, 'another password')).status).toBe(201)
  })

  it('hashes anew what was hashed under other parameters', async () => {
    const user = await makeCheapUser()
    const hash = async () =>
      (await rowsOf('select password_hash from users where id = ?', user.id))[0]?.['password_hash']
    expect(await hash()).toMatch(/^\$pbkdf2-sha256\$i=1\$/)
    await signIn(user, 'not the password')
    expect(await hash()).toMatch(/^\$pbkdf2-sha256\$i=1\$/)
    await signIn(user)
    expect(await hash()).toMatch(/^\$pbkdf2-sha256\$i=100000\$/)
    expect((await signIn(user)).status).toBe(201)
  })

  it.each([
    [{}, ['/username', '/password']],
    [{ username: 'a', password: 1 }, ['/password']],
    [{ username: 'a', password: 'x'.repeat(1025) }, ['/password']],
    [{ username: 'a', password: 'b', remember: true }, ['/remember']],
  ])('400 for %j', async (body, pointers) => {
    expectProblem(await call('POST', '/v1/sessions', { body }), 400, 'invalid_request', pointers)
  })
})

describe('GET and DELETE /v1/sessions', () => {
  it('lists the live sessions, the newest first, and only the own ones', async () => {
    const user = await makeCheapUser()
    await makeUser()
    const expired = await signIn(user)
    await execute(
      'update sessions set expires_at = 1 where user_id = ? and id <> ?',
      user.id,
      user.sessionId,
    )
    const opened = await call('POST', '/v1/sessions', {
      body: { username: user.username, password: PASSWORD },
      headers: { 'CF-Connecting-IP': '192.0.2.7', 'User-Agent': 'u'.repeat(300) },
    })
    const { body } = await call('GET', '/v1/sessions', { token: user.token })
    const times = { created_at: TIME, refreshed_at: TIME, expires_at: TIME }
    const newest = { ip: '192.0.2.7', user_agent: 'u'.repeat(256), ...times }
    expect(body).toEqual({
      items: [
        { id: anId('sess'), current: false, ...newest },
        { id: user.sessionId, current: true, ip: null, user_agent: null, ...times },
      ],
      next_cursor: null,
    })
    expect([expired.status, opened.status]).toEqual([201, 201])
  })

  it.each(['current', 'by its id'])('ends the session it is called in: %s', async (how) => {
    const user = await makeUser()
    const path = `/v1/sessions/${how === 'current' ? 'current' : user.sessionId}`
    const answer = await call('DELETE', path, { token: user.token })
    expect([answer.status, answer.text]).toEqual([204, ''])
    expectProblem(await call('GET', '/v1/me', { token: user.token }), 401, 'revoked')
    expect(await actionsOf(user)).toEqual(['session.ended'])
  })

  it('ends another own session, once', async () => {
    const user = await makeCheapUser()
    const { body } = await signIn(user)
    const access = { token: pick(body, 'access_token') }
    const path = `/v1/sessions/${user.sessionId}`
    expect((await call('DELETE', path, access)).status).toBe(204)
    expectProblem(await call('GET', '/v1/me', { token: user.token }), 401, 'revoked')
    expectProblem(await call('DELETE', path, access), 404, 'not_found')
    expect((await call('GET', '/v1/me', access)).status).toBe(200)
    expect(await actionsOf(user)).toEqual(['session.created', 'session.ended'])
  })
})

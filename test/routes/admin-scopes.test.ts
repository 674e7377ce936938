import { describe, expect, it } from 'vitest'
import { answer, fieldOf, openSessions, signInOnPage } from '../support/claim-page.ts'
import { answerClaim, askForCodes, poll } from '../support/claims.ts'
import { type Answer, call } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { dumpDatabase, execute } from '../support/rows.ts'
import { makeCheapUser } from '../support/sign-in.ts'

const SCOPES = ['telemetry:*', 'keys:verify-all']

/** The four ways in which a user gives scopes to a key, each with the pointer of the scopes. */
async function waysOf(user: TestUser) {
  const { token } = user
  const { id, keyId } = await makeDevice(user)
  const asker = await askForCodes()
  const keys = `/v1/devices/${id}/keys`
  const body = { scopes: SCOPES }
  return [
    {
      send: async () =>
        await call('POST', '/v1/devices', { token, body: { name: 'new', key: body } }),
      pointer: '/key/scopes',
    },
    { send: async () => await call('POST', keys, { token, body }), pointer: '/scopes' },
    {
      send: async () => await call('PATCH', `${keys}/${keyId}`, { token, body }),
      pointer: '/scopes',
    },
    {
      send: async () => await answerClaim(user, asker, { decision: 'approve', ...body }),
      pointer: '/scopes',
    },
  ] as const
}

function expectNeedsAdmin(refused: Answer, pointer: string): void {
  expectProblem(refused, 400, 'invalid_request', [pointer])
  const detail = expect.stringContaining('needs an admin')
  expect(refused.body).toMatchObject({ errors: [{ detail }] })
}

async function setRole(user: TestUser, role: 'user' | 'admin'): Promise<void> {
  await execute('update users set role = ? where id = ?', role, user.id)
}

describe('keys:verify-all is given to a key by an admin only', () => {
  it('a user is refused by name, whether the key is made, changed or claimed', async () => {
    const ways = await waysOf(await makeUser())
    const before = await dumpDatabase()
    for (const { send, pointer } of ways) expectNeedsAdmin(await send(), pointer)
    expect(await dumpDatabase()).toBe(before)
  })

  it('an admin gives it in every way', async () => {
    for (const { send } of await waysOf(await makeUser('admin'))) {
      expect([200, 201]).toContain((await send()).status)
    }
  })

  it('goes by the role that D1 has, not by when the access token was signed', async () => {
    const user = await makeUser()
    const ways = await waysOf(user)
    await setRole(user, 'admin')
    const [first, second, ...rest] = ways
    expect((await first.send()).status).toBe(201)
    await setRole(user, 'user')
    for (const { send, pointer } of [second, ...rest]) expectNeedsAdmin(await send(), pointer)
  })

  it('a key of somebody who was an admin keeps it while other things change', async () => {
    const user = await makeUser('admin')
    const { token } = user
    const { id, keyId } = await makeDevice(user)
    const path = `/v1/devices/${id}/keys/${keyId}`
    expect((await call('PATCH', path, { token, body: { scopes: SCOPES } })).status).toBe(200)
    await setRole(user, 'user')
    const renamed = await call('PATCH', path, { token, body: { name: 'renamed' } })
    expect(renamed.body).toMatchObject({ name: 'renamed', scopes: SCOPES })
    expectNeedsAdmin(await call('PATCH', path, { token, body: { scopes: SCOPES } }), '/scopes')
    const taken = await call('PATCH', path, { token, body: { scopes: ['telemetry:*'] } })
    expect(taken.body).toMatchObject({ scopes: ['telemetry:*'] })
  })

  it('is named beside what else the time of the request forbids', async () => {
    const { token } = await makeUser()
    const key = { scopes: SCOPES, expires_at: '2020-01-01T00:00:00Z' }
    const refused = await call('POST', '/v1/devices', { token, body: { name: 'x', key } })
    expectProblem(refused, 400, 'invalid_request', ['/key/expires_at', '/key/scopes'])
    const { userCode } = await askForCodes()
    const body = { decision: 'approve', scopes: SCOPES, key: { expires_at: key.expires_at } }
    const claimed = await call('POST', `/v1/claims/${userCode}`, { token, body })
    expectProblem(claimed, 400, 'invalid_request', ['/key/expires_at', '/scopes'])
  })
})

describe('on the page /claim', () => {
  it('a user who types keys:verify-all is told in a sentence, and can answer again', async () => {
    const user = await makeCheapUser()
    const asker = await askForCodes()
    const shown = await signInOnPage(user, asker)
    const fields = { decision: 'approve', name: 'x', scopes: SCOPES.join(' ') }
    const refused = await answer(shown, fields)
    expect(refused.status).toBe(400)
    expect(refused.text).toContain('Only an admin can give a key the scope keys:verify-all.')
    expect(fieldOf(refused, 'user_code')).toBe(asker.userCode)
    expect(await openSessions(user)).toBe(1)
    expect((await answer(refused, { ...fields, scopes: 'telemetry:*' })).status).toBe(200)
    expect(await poll(asker)).toMatchObject({ ok: true, value: { scopes: ['telemetry:*'] } })
  })

  it('an admin who types it gives it', async () => {
    const user = await makeCheapUser()
    await setRole(user, 'admin')
    const asker = await askForCodes()
    const fields = { decision: 'approve', name: 'x', scopes: SCOPES.join(' ') }
    expect((await answer(await signInOnPage(user, asker), fields)).status).toBe(200)
    expect(await poll(asker)).toMatchObject({ ok: true, value: { scopes: SCOPES } })
  })
})

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { loadSettings } from '../../src/settings.ts'
import { askForCodes, postForm } from '../support/claims.ts'
import { type Answer, call } from '../support/client.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { makeLimitedDevice } from '../support/limits.ts'
import { basic } from '../support/oauth.ts'

const reserving: Env = { ...env, RESERVED_SCOPES: 'billing:*, export' }
const RESERVED = ['billing:read', 'billing:*', 'export']

/** The ways in which a user gives a scope to a key. */
async function give(user: TestUser, scope: string): Promise<Answer[]> {
  const { token } = user
  const { id, keyId } = await makeDevice(user)
  const { userCode } = await askForCodes()
  const scopes = [scope]
  const keys = `/v1/devices/${id}/keys`
  const given = { token, env: reserving }
  return [
    await call('POST', '/v1/devices', { ...given, body: { name: scope, key: { scopes } } }),
    await call('POST', keys, { ...given, body: { scopes } }),
    await call('PATCH', `${keys}/${keyId}`, { ...given, body: { scopes } }),
    await call('POST', `/v1/claims/${userCode}`, {
      ...given,
      body: { decision: 'approve', scopes },
    }),
  ]
}

describe('a scope that RESERVED_SCOPES names', () => {
  it.each(RESERVED)('%s is given by admins only', async (scope) => {
    for (const refused of await give(await makeUser(), scope)) {
      expect(refused).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
      expect(refused.text).toContain(`${scope} needs an admin`)
    }
    for (const { status } of await give(await makeUser('admin'), scope)) {
      expect([200, 201]).toContain(status)
    }
  })

  it('does not stand in the way of others', async () => {
    for (const scope of ['*', 'billing', 'billings:read', 'exports', 'export:all']) {
      for (const { status } of await give(await makeUser(), scope)) {
        expect([200, 201]).toContain(status)
      }
    }
  })

  it('is covered by no wildcard, of a secret or in a token', async () => {
    const device = await makeLimitedDevice(await makeUser(), { scopes: ['*', 'billing:*'] })
    const isolate = makeIsolate(Date.now(), loadSettings(reserving))
    const codeFor = async (scope: string) =>
      await isolate.codeOf(device.secret, { scopes: [scope] })
    for (const scope of ['billing:read', 'export']) {
      expect(await codeFor(scope)).toBe('insufficient_scope')
      const form = { grant_type: 'client_credentials', scope }
      const headers = basic(device.id, device.secret)
      const answer = await postForm('/oauth/token', form, { headers, env: reserving })
      expect(answer).toMatchObject({ status: 400, body: { error: 'invalid_scope' } })
    }
    expect(await codeFor('telemetry:write')).toBe('valid')
  })

  it('is held literally', async () => {
    const device = await makeLimitedDevice(await makeUser(), { scopes: ['billing:read'] })
    const isolate = makeIsolate(Date.now(), loadSettings(reserving))
    expect(await isolate.codeOf(device.secret, { scopes: ['billing:read'] })).toBe('valid')
    expect(await isolate.codeOf(device.secret, { scopes: ['billing:write'] })).toBe(
      'insufficient_scope',
    )
  })

  it('that a device asked for before is not given by an answer that does not write it', async () => {
    const user = await makeUser()
    const { userCode } = await askForCodes({ scope: 'billing:read' })
    const answer = async (scopes: object) =>
      await call('POST', `/v1/claims/${userCode}`, {
        token: user.token,
        body: { decision: 'approve', ...scopes },
        env: reserving,
      })
    expect(await answer({})).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect((await answer({ scopes: ['billing:read'] })).text).toContain('needs an admin')
    expect((await answer({ scopes: [] })).status).toBe(200)
  })

  it.each(RESERVED)('%s is nothing that a device may ask for', async (scope) => {
    const form = { client_id: 'acme-thermo-2', scope }
    const answer = await postForm('/oauth/device_authorization', form, { env: reserving })
    expect(answer).toMatchObject({ status: 400, body: { error: 'invalid_scope' } })
  })
})

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { call } from '../support/client.ts'
import { fakeLimiter } from '../support/environments.ts'
import { TIME } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { makeLimitedDevice } from '../support/limits.ts'
import { basic, expectOAuthError, postForm } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'

async function makeVerifier(user: TestUser, policy: object): Promise<TestDevice> {
  const verifier = await makeDevice(user)
  const path = `/v1/devices/${verifier.id}/keys/${verifier.keyId}`
  const body = { scopes: ['keys:verify'], ...policy }
  expect((await call('PATCH', path, { token: user.token, body })).status).toBe(200)
  return verifier
}

describe('introspection', () => {
  it('charges its verifier alike, however it authenticates, and waits with a 429', async () => {
    const user = await makeUser()
    const verifier = await makeVerifier(user, { rate_limit: { limit: 2, window_seconds: 3600 } })
    const ways = [
      basic(verifier.id, verifier.secret),
      { Authorization: `Bearer ${verifier.secret}` },
    ]
    for (const headers of ways) {
      const answer = await postForm('/oauth/introspect', { token: 'made-up' }, headers)
      expect(answer).toMatchObject({ status: 200, body: { active: false } })
    }
    for (const headers of ways) {
      const answer = await postForm('/oauth/introspect', { token: 'made-up' }, headers)
      expectOAuthError(answer, 429, 'temporarily_unavailable')
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(3500)
    }
  })

  it('is no use of the limited key that it asks about, and a request with that key is', async () => {
    const user = await makeUser()
    const verifier = await makeVerifier(user, {})
    const rate_limit = { limit: 10, window_seconds: 3600 }
    const asked = await makeLimitedDevice(user, { rate_limit })
    const lastUse = async () => {
      const { body } = await call('GET', `/v1/devices/${asked.id}`, { token: user.token })
      return body
    }
    const header = basic(verifier.id, verifier.secret)
    const answer = await postForm('/oauth/introspect', { token: asked.secret }, header)
    expect(answer.body).toMatchObject({ active: true })
    expect(await lastUse()).toMatchObject({ last_used_at: null })
    await call('GET', '/v1/device', { token: asked.secret })
    expect(await lastUse()).toMatchObject({ last_used_at: TIME })
  })

  it('never says that a secret is inactive which nobody looked up', async () => {
    const user = await makeUser()
    const verifier = await makeVerifier(user, {})
    const device = await makeDevice(user)
    const imported = 'an-imported-secret-to-introspect'
    await execute(
      `insert into key_secrets (hash, key_id, hint, imported, created_at) values (?, ?, 'x', 1, 1)`,
      await sha256(imported),
      device.keyId,
    )
    const UNKNOWN_SECRET_LIMITER = fakeLimiter(1)
    const limited = { ...env, ACCEPT_IMPORTED_KEYS: 'true', UNKNOWN_SECRET_LIMITER }
    const ask = async (token: string, ip: string) => {
      const headers = { ...basic(verifier.id, verifier.secret), 'CF-Connecting-IP': ip }
      return await postForm('/oauth/introspect', { token }, headers, limited)
    }
    const [crowded, quiet] = ['198.51.100.1', '198.51.100.2']
    for (const made of ['an-unknown-secret-1', 'an-unknown-secret-2']) {
      expect((await ask(made, crowded)).body).toEqual({ active: false })
    }
    expectOAuthError(await ask(imported, crowded), 429, 'temporarily_unavailable')
    expect((await ask(imported, quiet)).body).toMatchObject({ active: true })
  })
})

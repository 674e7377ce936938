import { describe, expect, it, vi } from 'vitest'
import { call, pick } from '../support/client.ts'
import { countStatuses, expectProblem, TIME } from '../support/expectations.ts'
import { KEY_KINDS, makeLimitedDevice } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import {
  keyPathOf,
  makeOwned,
  type Owned,
  rotate,
  rotatedSecret,
  secretsShown,
  statusesOf,
  UNTIL_USED,
  useFirst,
} from '../support/rotations.ts'
import { execute, rowsOf } from '../support/rows.ts'

const liveSecretsOf = async ({ device }: Owned) =>
  await rowsOf(
    `select hash from key_secrets where key_id = ? and revoked_at is null
       and (expires_at is null or expires_at > ?)`,
    device.keyId,
    Date.now(),
  )

describe.each(KEY_KINDS)('the first use of a secret of %s', (_, limits) => {
  it('is shown with its country, once, and is that of an accepted call', async () => {
    const owned = await makeOwned(limits)
    expect(await secretsShown(owned)).toMatchObject([
      { first_used_at: null, first_used_country: null },
    ])
    const { secret } = owned.device
    await call('GET', '/v1/device', { token: secret, country: 'NL' })
    await useFirst(secret)
    const [shown] = await secretsShown(owned)
    expect(shown).toMatchObject({ first_used_at: TIME, first_used_country: 'NL' })
    await call('GET', '/v1/device', { token: secret, country: 'FR' })
    const [later] = await secretsShown(owned)
    expect(later?.['first_used_at']).toBe(shown?.['first_used_at'])
    expect(later).toMatchObject({ first_used_country: 'NL' })
  })

  it('is a token that is issued for it, and no introspection', async () => {
    const owned = await makeOwned(limits)
    const verifier = await makeLimitedDevice(owned.user, { scopes: ['keys:verify'] })
    await call('POST', '/oauth/introspect', {
      raw: new URLSearchParams({ token: owned.device.secret }).toString(),
      token: verifier.secret,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    })
    expect(await secretsShown(owned)).toMatchObject([{ first_used_at: null }])
    await fetchToken(owned.device)
    await vi.waitFor(async () =>
      expect(await secretsShown(owned)).toMatchObject([{ first_used_at: TIME }]),
    )
  })

  it('is no refused call', async () => {
    const owned = await makeOwned(limits)
    await call('PATCH', keyPathOf(owned.device), {
      token: owned.user.token,
      body: { enabled: false },
    })
    expect(await statusesOf(owned.device.secret)).toEqual([401])
    expect(await secretsShown(owned)).toMatchObject([{ first_used_at: null }])
  })
})

describe.each(KEY_KINDS)('a rotation of %s until the new secret is used', (_, limits) => {
  it('leaves the old secret until then, and ends it then', async () => {
    const owned = await makeOwned(limits)
    const old = owned.device.secret
    const fresh = await rotatedSecret(owned, UNTIL_USED)
    expect(await statusesOf(old, old)).toEqual([200, 200])
    await useFirst(fresh)
    expect(await statusesOf(old, fresh)).toEqual([401, 200])
  })

  it('ends the old secret after the overlap, which begins with the first use', async () => {
    const owned = await makeOwned(limits)
    const fresh = await rotatedSecret(owned, { until_used: true, overlap_seconds: 3600 })
    const [, before] = await secretsShown(owned)
    expect(before).toMatchObject({ expires_at: null })
    const usedAt = Date.now()
    await useFirst(fresh)
    expect(await statusesOf(owned.device.secret)).toEqual([200])
    const [, after] = await secretsShown(owned)
    const end = Date.parse(String(after?.['expires_at']))
    expect(end).toBeGreaterThanOrEqual(usedAt + 3_600_000)
    expect(end).toBeLessThanOrEqual(Date.now() + 3_600_000)
  })

  it('never extends the end that the old secret has', async () => {
    const owned = await makeOwned(limits)
    const end = Date.now() + 60_000
    await execute('update key_secrets set expires_at = ? where key_id = ?', end, owned.device.keyId)
    const fresh = await rotatedSecret(owned, { until_used: true, overlap_seconds: 3600 })
    await useFirst(fresh)
    const [, old] = await secretsShown(owned)
    expect(old).toMatchObject({ expires_at: new Date(end).toISOString() })
  })

  it('again replaces the new secret while that was never used, and leaves the old', async () => {
    const owned = await makeOwned(limits)
    const old = owned.device.secret
    const lost = await rotatedSecret(owned, UNTIL_USED)
    const fresh = await rotatedSecret(owned, UNTIL_USED)
    expect(await statusesOf(lost, old)).toEqual([401, 200])
    await useFirst(fresh)
    expect(await statusesOf(old)).toEqual([401])
  })

  it('four at once leave the old secret and one that is pending', async () => {
    const owned = await makeOwned(limits)
    const answers = await Promise.all(Array.from({ length: 4 }, () => rotate(owned, UNTIL_USED)))
    expect(countStatuses(answers)).toEqual({ 200: 4 })
    expect(await liveSecretsOf(owned)).toHaveLength(2)
    const statuses = await statusesOf(...answers.map(({ body }) => pick(body, 'api_key')))
    expect(statuses.toSorted((a, b) => a - b)).toEqual([200, 401, 401, 401])
  })

  it('is refused while an overlap runs, as every rotation but one with an overlap of 0', async () => {
    const owned = await makeOwned(limits)
    await rotatedSecret(owned, { overlap_seconds: 3600 })
    for (const body of [UNTIL_USED, { until_used: true, overlap_seconds: 0 }]) {
      expectProblem(await rotate(owned, body), 409, 'overlap_running')
    }
    expectProblem(await rotate(owned, { overlap_seconds: 60 }), 409, 'overlap_running')
    const last = await rotatedSecret(owned, { overlap_seconds: 0 })
    expect(await liveSecretsOf(owned)).toHaveLength(1)
    expect(await statusesOf(last)).toEqual([200])
  })

  it('that is pending ends with a plain rotation, whose overlap the old secret gets', async () => {
    const owned = await makeOwned(limits)
    const pending = await rotatedSecret(owned, UNTIL_USED)
    const fresh = await rotatedSecret(owned, { overlap_seconds: 3600 })
    expect(await statusesOf(pending, owned.device.secret, fresh)).toEqual([401, 200, 200])
  })

  it('without a body is the default rotation, with or without a media type', async () => {
    const owned = await makeOwned(limits)
    const path = `${keyPathOf(owned.device)}/rotate`
    const { token } = owned.user
    for (const headers of [{}, { 'Content-Type': 'application/json' }]) {
      const answer = await call('POST', path, { token, headers })
      expect(answer.status).toBe(200)
      expect(await liveSecretsOf(owned)).toHaveLength(1)
    }
  })

  it('ends the tokens of the old secret if the overlap is shorter than a token', async () => {
    const owned = await makeOwned(limits)
    const token = await fetchToken(owned.device)
    const fresh = await rotatedSecret(owned, UNTIL_USED)
    expect(await statusesOf(token)).toEqual([200])
    await useFirst(fresh)
    expect(await statusesOf(token)).toEqual([401])
  })
})

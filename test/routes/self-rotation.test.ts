import { describe, expect, it } from 'vitest'
import { call, pick } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { KEY_KINDS } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { keyPathOf, makeOwned, secretsShown, statusesOf, useFirst } from '../support/rotations.ts'
import { auditOf, execute } from '../support/rows.ts'

const rotateOwn = async (token: string, body: object = {}) =>
  await call('POST', '/v1/device/rotate', { token, body })

describe.each(KEY_KINDS)('a device with %s rotates its own key', (_, limits) => {
  it('only where the policy of the key says so', async () => {
    const owned = await makeOwned(limits)
    const refused = await rotateOwn(owned.device.secret)
    expectProblem(refused, 403, 'self_rotation_not_allowed')
    const body = { self_rotation: true }
    const path = keyPathOf(owned.device)
    const changed = await call('PATCH', path, { token: owned.user.token, body })
    expect(changed.body).toMatchObject(body)
    expect((await rotateOwn(owned.device.secret)).status).toBe(200)
  })

  it('with its secret and not with a token', async () => {
    const { device } = await makeOwned(limits, { self_rotation: true })
    expectProblem(await rotateOwn(await fetchToken(device)), 401, 'invalid_credential')
  })

  it('and is not locked out if the answer is lost: its secret lives until the new one is used', async () => {
    const owned = await makeOwned(limits, { self_rotation: true })
    const { secret } = owned.device
    await rotateOwn(secret)
    const fresh = pick((await rotateOwn(secret)).body, 'api_key')
    expect(await statusesOf(secret)).toEqual([200])
    await useFirst(fresh)
    expect(await statusesOf(secret)).toEqual([401])
  })

  it('again and again, each with the secret before', async () => {
    const owned = await makeOwned(limits, { self_rotation: true })
    let { secret } = owned.device
    for (let time = 0; time < 5; time += 1) {
      const next = pick((await rotateOwn(secret)).body, 'api_key')
      await useFirst(next)
      expect(await statusesOf(secret)).toEqual([401])
      secret = next
    }
  })

  it('right at its first call with the new secret', async () => {
    const { device } = await makeOwned(limits, { self_rotation: true })
    const second = pick((await rotateOwn(device.secret)).body, 'api_key')
    const third = pick((await rotateOwn(second)).body, 'api_key')
    expect(await statusesOf(device.secret, second)).toEqual([401, 200])
    await useFirst(third)
    expect(await statusesOf(second)).toEqual([401])
  })

  it('ten times an hour', async () => {
    const { device } = await makeOwned(limits, { self_rotation: true })
    for (let time = 0; time < 10; time += 1) {
      expect((await rotateOwn(device.secret)).status).toBe(200)
    }
    expectProblem(await rotateOwn(device.secret), 429, 'rate_limited')
    const older = 'update key_secrets set created_at = created_at - 3600000 where key_id = ?'
    await execute(older, device.keyId)
    expect((await rotateOwn(device.secret)).status).toBe(200)
  })

  it('and its owner reads in the audit which secret it held', async () => {
    const owned = await makeOwned(limits, { self_rotation: true })
    const [held] = await secretsShown(owned)
    await rotateOwn(owned.device.secret, { overlap_seconds: 60 })
    const event = (await auditOf(owned.user.id)).at(-1)
    expect(event).toMatchObject({
      action: 'key.rotated',
      actorId: owned.device.id,
      after: { minted_with: held?.['hint'], until_used: true, overlap_seconds: 60 },
    })
  })

  it('and not one that is disabled, revoked or expired', async () => {
    const owned = await makeOwned(limits, { self_rotation: true })
    await execute('update api_keys set disabled_at = 1 where id = ?', owned.device.keyId)
    expectProblem(await rotateOwn(owned.device.secret), 401, 'disabled')
  })
})

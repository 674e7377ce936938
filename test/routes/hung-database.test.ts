import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { loadSettings } from '../../src/settings.ts'
import { call } from '../support/client.ts'
import { makeUser, markUsed } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import { KEY_KINDS, makeLimitedDevice } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { tapDatabase } from '../support/tapping.ts'

const KEY_CACHE_MS = 10_000
const TIMEOUT_MS = 300
const settings = { ...loadSettings(env), d1TimeoutMs: TIMEOUT_MS }

/** A database that never answers. */
const hung = tapDatabase(env.DB, () => new Promise(() => undefined))

/** A database that answers, always a little later than is waited for. */
const slow = tapDatabase(env.DB, async (_, run) => {
  const rows = await run()
  await scheduler.wait(TIMEOUT_MS + 50)
  return rows
})

async function makeDevice(limits: object) {
  const device = await makeLimitedDevice(await makeUser(), limits)
  await markUsed(device)
  return device
}

describe('while D1 hangs, by the real clock', () => {
  it('few of many verifies wait for it, whichever keys they are of', async () => {
    const secrets = await Promise.all(
      Array.from({ length: 10 }, async () => (await makeDevice({})).secret),
    )
    const isolate = makeIsolate(Date.now() - KEY_CACHE_MS, settings)
    for (const secret of secrets) expect(await isolate.codeOf(secret)).toBe('valid')
    isolate.database = hung
    let waited = 0
    for (let verify = 0; verify < 50; verify += 1) {
      isolate.now = Date.now()
      expect(await isolate.codeOf(secrets[verify % 10] ?? '')).toBe('valid')
      if (Date.now() - isolate.now >= TIMEOUT_MS / 2) waited += 1
      await scheduler.wait(50)
    }
    // 2.5 s and the waits themselves: one a second, and the first.
    expect(waited).toBeGreaterThan(0)
    expect(waited).toBeLessThanOrEqual(5)
  })

  it('what nobody knows here is refused at once, but for one a second', async () => {
    const { secret } = await makeDevice({})
    const isolate = makeIsolate(Date.now(), settings)
    isolate.database = hung
    await expect(isolate.codeOf(secret)).rejects.toThrow(/^D1 /)
    isolate.now = Date.now()
    await expect(isolate.codeOf(secret)).rejects.toThrow('failed a moment ago')
    expect(Date.now() - isolate.now).toBeLessThan(TIMEOUT_MS / 2)
  })
})

describe.each(KEY_KINDS)('while D1 always answers a little too late, %s', (_, limits) => {
  it('is dead once its revocation was read, late as that was', async () => {
    const device = await makeDevice(limits)
    const isolate = makeIsolate(Date.now(), settings)
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    await execute('update api_keys set revoked_at = 1 where id = ?', device.keyId)
    isolate.database = slow
    isolate.now += KEY_CACHE_MS
    // It is served as it was known, and the answer comes after that.
    expect(await isolate.codeOf(device.secret)).toBe('valid')
    await scheduler.wait(100)
    isolate.now += 100
    expect(await isolate.codeOf(device.secret)).toBe('revoked')
  })
})

describe('what one isolate changed itself', () => {
  it('makes no token of others wait for D1, and leaves stale serving as it was', async () => {
    const [one, other] = [await makeDevice({}), await makeDevice({})]
    const isolate = makeIsolate(Date.now(), settings)
    const tokens = [await fetchToken(one), await fetchToken(other)] as const
    for (const token of tokens) expect(await isolate.codeOf(token)).toBe('valid')
    const before = isolate.statements.length
    isolate.state.evict(one.keyId)
    expect(await isolate.codeOf(tokens[1])).toBe('valid')
    expect(isolate.statements).toHaveLength(before)
    // The one whose subject changed asks, and the other is served while D1 fails.
    isolate.database = hung
    await expect(isolate.codeOf(tokens[0])).rejects.toThrow(/^D1 /)
    isolate.now += KEY_CACHE_MS
    expect(await isolate.codeOf(tokens[1])).toBe('valid')
  })

  it('ends its token at once, whatever read lands late', async () => {
    const user = await makeUser()
    const device = await makeLimitedDevice(user, {})
    const token = await fetchToken(device)
    const isolate = makeIsolate(Date.now())
    expect(await isolate.codeOf(token)).toBe('valid')
    const waiting: (() => void)[] = []
    const gated = tapDatabase(isolate.database, async (_, run) => {
      const rows = await run()
      await new Promise<void>((resolve) => waiting.push(resolve))
      return rows
    })
    const { database } = isolate
    isolate.database = gated
    isolate.now += KEY_CACHE_MS
    const early = isolate.codeOf(token)
    await scheduler.wait(50)
    // The read has run and not landed. Now the key ends, here.
    const path = `/v1/devices/${device.id}/keys/${device.keyId}`
    await call('DELETE', path, { token: user.token })
    isolate.state.evict(device.keyId)
    for (const land of waiting) land()
    await early
    isolate.database = database
    expect(await isolate.codeOf(token)).toBe('revoked')
  })
})

describe('a row that cannot be read', () => {
  it('is a fault of ours and no outage', async () => {
    const device = await makeDevice({})
    await execute(`update api_keys set scopes = '{' where id = ?`, device.keyId)
    const answer = await call('GET', '/v1/device', { token: device.secret })
    expect(answer).toMatchObject({ status: 500, body: { code: 'internal_error' } })
  })
})

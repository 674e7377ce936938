import { exports } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ORIGIN, pick } from '../support/client.ts'
import { KEY_KINDS, setUpVerifier } from '../support/limits.ts'
import { fetchToken } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'

/** Asks over RPC, whatever the options are: over a service binding they may be anything. */
async function ask(presented: unknown, ...options: readonly unknown[]): Promise<unknown> {
  const { verify } = exports.KeyVerifier
  const result: unknown = await Reflect.apply(verify, exports.KeyVerifier, [presented, ...options])
  return result
}

/** Asks over RPC about any owner's, unless the options say otherwise. */
async function overRpc(presented: unknown, options: object = {}): Promise<unknown> {
  return await ask(presented, { owner: 'any', ...options })
}

const rate = (limit: number) => ({ rate_limit: { limit, window_seconds: 3600 } })
/** The answer names the option and says what to write. */
const wrong = (name: string) => ({
  valid: false,
  code: 'misconfigured',
  detail: expect.stringContaining(name),
})

afterEach(() => {
  vi.restoreAllMocks()
})

describe('options of a verify that are not of their types or bounds', () => {
  it.each<[string, unknown]>([
    ['cost', -1],
    ['cost', 1001],
    ['cost', 1.5],
    ['cost', '1'],
    ['cost', null],
    ['cost', [1]],
    ['cost', 1_000_000],
    ['scopes', 'a'],
    ['scopes', null],
    ['scopes', {}],
    ['scopes', [5]],
    ['scopes', [null]],
    ['scopes', ['']],
    ['scopes', ['a', 'a:*']],
    ['scopes', ['a b']],
    ['scopes', ['x'.repeat(129)]],
    ['fresh', 'yes'],
    ['fresh', 1],
    ['fresh', null],
    ['audience', 5],
    ['audience', null],
    ['audience', ['https://api.example']],
  ])('%s: %j is refused at both doors, and spends nothing', async (name, value) => {
    vi.spyOn(console, 'error').mockReturnValue()
    const { device, verify } = await setUpVerifier(rate(10), { scopes: ['a'] })
    const answer = await verify({ [name]: value })
    expect(answer.status).toBe(400)
    expect(pick(answer.body, 'errors', '0', 'pointer').split('/')[1]).toBe(name)
    for (const presented of [device.secret, await fetchToken(device)]) {
      expect(await overRpc(presented, { [name]: value })).toEqual(wrong(name))
    }
    // The token cost one.
    expect((await verify({ cost: 0 })).body).toMatchObject({ rate_limit: { remaining: 9 } })
  })

  it.each<[string, unknown]>([
    ['cost', Number.NaN],
    ['cost', Infinity],
    ['cost', 1n],
    ['owner', 5],
    ['owner', null],
    ['owner', ['user_x']],
    ['scopes', new Set(['a'])],
  ])('%s: %s, which only RPC can carry, is refused and spends nothing', async (name, value) => {
    vi.spyOn(console, 'error').mockReturnValue()
    const { device, verify } = await setUpVerifier(rate(10), { scopes: ['a'] })
    expect(await overRpc(device.secret, { [name]: value })).toEqual(wrong(name))
    expect((await verify({ cost: 0 })).body).toMatchObject({ rate_limit: { remaining: 10 } })
  })

  it.each<[string, readonly unknown[], string]>([
    ['no options', [], 'owner'],
    ['null', [null], 'owner'],
    ['no owner', [{}], 'any'],
    ['an undefined owner, as of a misspelt variable', [{ owner: undefined }], 'any'],
    ['an empty owner', [{ owner: '' }], 'any'],
    ['an owner that is no id', [{ owner: 'ada' }], 'any'],
    ['any in capitals', [{ owner: 'ANY' }], 'any'],
    ['a misspelt option', [{ owner: 'any', scope: ['a'] }], 'no option scope'],
  ])('over RPC, %s is answered with what to write', async (_, options, said) => {
    vi.spyOn(console, 'error').mockReturnValue()
    const { device } = await setUpVerifier({})
    expect(await ask(device.secret, ...options)).toEqual(wrong(said))
  })

  it('have a line for whoever runs the deployment, at most one a second', async () => {
    const { device } = await setUpVerifier({})
    await scheduler.wait(1100)
    const error = vi.spyOn(console, 'error').mockReturnValue()
    for (let call = 0; call < 3; call += 1) await ask(device.secret)
    const lines = error.mock.calls.flat().join('\n')
    expect(lines).toContain('"event":"rpc-misconfigured"')
    expect(error.mock.calls.length).toBeLessThan(3)
    expect(lines).not.toContain(device.secret)
  })

  it.each<[string, unknown]>([
    ['a string that is no secret', 'x'],
    ['a string of 16 KiB', 'x'.repeat(16_384)],
    ['three parts that are no token', 'eyJ.e30.e30'],
  ])('are no matter where the credential is %s: not_found at both', async (_, presented) => {
    const { verify } = await setUpVerifier(rate(10))
    const expected = { valid: false, code: 'not_found' }
    expect((await verify({ api_key: presented })).body).toEqual(expected)
    expect(await overRpc(presented)).toEqual(expected)
  })

  it.each<[unknown]>([[5], [null], [{}], [['x']], [true]])(
    'are no matter where the credential is %j: 400 over HTTP and not_found over RPC',
    async (presented) => {
      const { verify } = await setUpVerifier(rate(10))
      expect((await verify({ api_key: presented })).status).toBe(400)
      expect(await overRpc(presented)).toEqual({ valid: false, code: 'not_found' })
    },
  )
})

describe.each(KEY_KINDS)('the two doors of a verify of %s', (_, limits) => {
  const ASKED: readonly (readonly [string, Record<string, unknown>])[] = [
    ['valid', {}],
    ['valid', { scopes: ['a', 'b:c'] }],
    ['valid', { fresh: true }],
    ['valid', { audience: ORIGIN }],
    ['insufficient_scope', { scopes: ['a', 'b'] }],
    ['insufficient_scope', { scopes: ['c'], fresh: true }],
  ]

  it.each(ASKED)('both say %s to %j, of a secret and of a token', async (code, asked) => {
    const { device, verify } = await setUpVerifier(limits, { scopes: ['a', 'b:*'] })
    for (const api_key of [device.secret, await fetchToken(device)]) {
      const { body } = await verify({ api_key, cost: 0, ...asked })
      expect(body).toMatchObject({ valid: code === 'valid', code, device: { id: device.id } })
      expect(await overRpc(api_key, { cost: 0, ...asked })).toEqual(body)
    }
  })

  it.each([
    ['revoked', 'update api_keys set revoked_at = 1 where id = ?'],
    ['expired', 'update api_keys set expires_at = 1 where id = ?'],
    ['disabled', 'update api_keys set disabled_at = 1 where id = ?'],
  ])('both say %s of a key that is so, and whose it is', async (code, change) => {
    const { device, verify } = await setUpVerifier(limits)
    await execute(change, device.keyId)
    const { body } = await verify({ fresh: true })
    expect(body).toMatchObject({ valid: false, code, device: { id: device.id } })
    expect(await overRpc(device.secret, { fresh: true })).toEqual(body)
  })

  it('both say not_found of a token for another audience, and of another’s key', async () => {
    const { user, device, verify } = await setUpVerifier(limits)
    const token = await fetchToken(device)
    const expected = { valid: false, code: 'not_found' }
    for (const audience of ['https://other.example', `${ORIGIN}/`]) {
      expect((await verify({ api_key: token, audience })).body).toEqual(expected)
      expect(await overRpc(token, { audience })).toEqual(expected)
    }
    const other = await setUpVerifier(limits)
    for (const presented of [device.secret, token]) {
      expect((await other.verify({ api_key: presented })).body).toEqual(expected)
      expect(await overRpc(presented, { owner: other.user.id })).toEqual(expected)
      expect(await overRpc(presented, { owner: user.id })).toMatchObject({ valid: true })
    }
  })
})

import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { latchkey, upstream } from './support/both-ends.ts'
import { FORGED, forgeries, identityIn } from './support/identity-headers.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import { type Fields, send, startRecordingServer } from './support/raw-http.ts'
import { askForUpgrade, startWillingServer } from './support/upgrades.ts'

const ORIGIN = ['Origin', 'https://pages.example'] as const
const ASKED_METHOD = ['Access-Control-Request-Method', 'PUT'] as const
const PREFLIGHT: Fields = [
  ORIGIN,
  ASKED_METHOD,
  ['Access-Control-Request-Headers', 'authorization,content-type'],
]

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  'CORS preflights through $label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])
    let proxy: Proxy
    const ask = async (fields: Fields, method = 'OPTIONS') =>
      await send(proxy.port, { method, path: '/a?b=c', fields })

    async function expectRefused(fields: Fields, method?: string): Promise<void> {
      latchkey.forget()
      const { status } = await ask(fields, method)
      expect({ fields, status, received: upstream.received }).toEqual({
        fields,
        status: 401,
        received: [],
      })
      expect(latchkey.sent()).toMatch(/^GET \/v1\/forward-auth/)
    }

    beforeAll(async () => {
      const api = `127.0.0.1:${upstream.port}`
      proxy = await kind.start({ latchkey: latchkey.address, api })
      return proxy.stop
    })

    test('A preflight reaches the API without an identity, and Latchkey is not asked', async () => {
      expect((await ask(PREFLIGHT)).status).toBe(200)
      expect(upstream.received).toMatchObject([{ method: 'OPTIONS', url: '/a?b=c', body: '' }])
      const [{ fields } = { fields: [] }] = upstream.received
      expect(identityIn(fields)).toEqual({})
      const names = fields.map(([name, value]) => [name.toLowerCase(), value])
      for (const [name, value] of PREFLIGHT)
        expect(names).toContainEqual([name.toLowerCase(), value])
      expect(latchkey.sent()).toBe('')
    })

    test('A preflight passes while Latchkey cannot be reached', async () => {
      const nobody = await startRecordingServer()
      nobody.close()
      const api = `127.0.0.1:${upstream.port}`
      const alone = await kind.start({ latchkey: `127.0.0.1:${nobody.port}`, api })
      onTestFinished(alone.stop)
      const request = { method: 'OPTIONS', fields: PREFLIGHT }
      expect((await send(alone.port, request)).status).toBe(200)
    })

    test('A preflight smuggles no identity to the API, however it is written', async () => {
      for (const fields of forgeries()) {
        upstream.received.length = 0
        const { status } = await ask([...fields, ...PREFLIGHT])
        expect([200, 400]).toContain(status)
        expect(identityIn(upstream.received[0]?.fields ?? [])).toEqual({})
        expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
      }
      expect(latchkey.sent()).toBe('')
    })

    test('An OPTIONS that lacks what makes a preflight is guarded', async () => {
      await expectRefused([])
      await expectRefused([ORIGIN])
      await expectRefused([ASKED_METHOD])
      await expectRefused([ORIGIN, ['Access-Control-Request-Method', '']])
      await expectRefused([['Origin', ''], ASKED_METHOD])
      // What would be a preflight if the values were read as one text.
      await expectRefused([['Access-Control-Request-Method', 'PUT|https://pages.example']])
      await expectRefused([['Origin', 'https://pages.example|PUT']])
      await expectRefused([['Origin', '|1|https://pages.example|PUT']])
    })

    test('No other method passes as a preflight', async () => {
      for (const method of ['GET', 'HEAD', 'POST', 'DELETE']) await expectRefused(PREFLIGHT, method)
    })

    test('A preflight with a bad credential is refused', async () => {
      await expectRefused([...PREFLIGHT, ['Authorization', 'Bearer lk_bad']])
      await expectRefused([...PREFLIGHT, ['Authorization', '|PUT|x']])
      await expectRefused([...PREFLIGHT, ['X-API-Key', 'lk_bad']])
      await expectRefused([...PREFLIGHT, ['x-api-key', 'lk_bad']])
    })

    test('A preflight with a good key is let in as whose it is', async () => {
      expect((await ask([...PREFLIGHT, ...latchkey.bearer])).status).toBe(200)
      expect(identityIn(upstream.received[0]?.fields ?? [])).toMatchObject({
        'x-device-id': [latchkey.deviceId],
      })
      expect(latchkey.sent()).toMatch(/^GET \/v1\/forward-auth/)
    })

    test('A preflight brings no credential to the API of which Latchkey was not asked', async () => {
      const twice: Fields = [
        ['X-API-Key', ''],
        ['X-API-Key', 'lk_second'],
      ]
      await ask([...PREFLIGHT, ...twice])
      if (latchkey.sent() === '')
        expect(JSON.stringify(upstream.received)).not.toContain('lk_second')
    })

    test('A preflight cannot become a WebSocket', async () => {
      const willing = await startWillingServer()
      onTestFinished(willing.close)
      const api = `127.0.0.1:${willing.port}`
      const before = await kind.start({ latchkey: latchkey.address, api })
      onTestFinished(before.stop)
      const upgrade: Fields = [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'websocket'],
        ['Sec-WebSocket-Key', 'AAAAAAAAAAAAAAAAAAAAAA=='],
      ]
      const asked = await askForUpgrade(before.port, [...PREFLIGHT, ...upgrade], 'OPTIONS')
      expect(asked).toEqual({ status: 401, tunnel: undefined })
      expect([...willing.upgraded, ...willing.plain]).toEqual([])
    })
  },
)

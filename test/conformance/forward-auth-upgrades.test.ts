import type { ClientHttp2Session, OutgoingHttpHeaders } from 'node:http2'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { FORGED, forged, identityIn } from './support/identity-headers.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import type { Fields } from './support/raw-http.ts'
import { converse, headOf } from './support/raw-socket.ts'
import { startTappedLatchkey, type TappedLatchkey } from './support/tapped-latchkey.ts'
import {
  askForUpgrade,
  receive,
  startWillingServer,
  type WillingServer,
} from './support/upgrades.ts'

/** HAProxy takes no handshake without it. */
const HANDSHAKE_KEY = ['Sec-WebSocket-Key', 'AAAAAAAAAAAAAAAAAAAAAA=='] as const

const WEBSOCKET: Fields = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  HANDSHAKE_KEY,
]

const GREETING = 'the API speaks first'

let latchkey: TappedLatchkey
let upstream: WillingServer

beforeAll(async () => {
  latchkey = await startTappedLatchkey()
  upstream = await startWillingServer()
})

afterEach(() => {
  upstream.upgraded.length = 0
  upstream.plain.length = 0
  latchkey.forget()
})

afterAll(async () => {
  upstream.close()
  await latchkey.close()
})

/** What asks for these protocols, as an upgrade to HTTP/2 does (RFC 7540 §3.2). */
function upgradeTo(protocols: readonly string[]): Fields {
  return [
    ['Connection', 'Upgrade, HTTP2-Settings'],
    ...protocols.map((protocol) => ['Upgrade', protocol] as const),
    ['HTTP2-Settings', 'AAMAAABkAARAAAAAAAIAAAAA'],
    HANDSHAKE_KEY,
  ]
}

/** The status of a stream that stays open; undefined: it was reset. */
async function statusOf(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
): Promise<number | undefined> {
  const stream = session.request(headers, { endStream: false })
  onTestFinished(() => void stream.destroy())
  return await new Promise((resolve) => {
    stream.on('response', (answered) => resolve(answered[':status']))
    stream.on('error', () => resolve(undefined)).on('close', () => resolve(undefined))
  })
}

/** The values of the fields of that name. */
function valuesOf(fields: Fields | undefined, wanted: string): string[] {
  return (fields ?? []).flatMap(([name, value]) => (name.toLowerCase() === wanted ? [value] : []))
}

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  'Upgrades through $label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])
    let proxy: Proxy

    /** Asks for an upgrade, and closes the connection when the test ends. */
    async function ask(fields: Fields, method?: string) {
      const upgrade = await askForUpgrade(proxy.port, fields, method)
      onTestFinished(() => void upgrade.tunnel?.socket.destroy())
      return upgrade
    }

    beforeAll(async () => {
      const api = `127.0.0.1:${upstream.port}`
      proxy = await kind.start({ latchkey: latchkey.address, api })
      return proxy.stop
    })

    test('A WebSocket of a good key passes, with bytes in both directions', async () => {
      const { status, tunnel } = await ask([...latchkey.bearer, ...WEBSOCKET])
      expect(status).toBe(101)
      if (tunnel === undefined) throw new Error('no tunnel')
      const { socket, head } = tunnel
      const greeted = head + (await receive(socket, GREETING.length - head.length))
      expect(greeted).toBe(GREETING)
      const bytes = 'x'.repeat(200_000)
      socket.write(bytes)
      expect((await receive(socket, bytes.length)) === bytes).toBe(true)
    })

    test('The API learns whose WebSocket it is, and what the handshake says', async () => {
      const forgery = forged((name) => name)
      await ask([...forgery, ...latchkey.bearer, ...WEBSOCKET])
      const [fields] = upstream.upgraded
      expect(identityIn(fields ?? [])).toMatchObject({ 'x-device-id': [latchkey.deviceId] })
      expect(JSON.stringify(fields)).not.toContain(FORGED)
      expect(valuesOf(fields, 'sec-websocket-key')).toEqual(['AAAAAAAAAAAAAAAAAAAAAA=='])
    })

    test('A WebSocket without a key, or with a bad one, never reaches the API', async () => {
      expect(await ask(WEBSOCKET)).toMatchObject({ status: 401, tunnel: undefined })
      const bad: Fields = [['Authorization', 'Bearer lk_bad']]
      expect(await ask([...bad, ...WEBSOCKET])).toMatchObject({ status: 401, tunnel: undefined })
      expect([...upstream.upgraded, ...upstream.plain]).toEqual([])
    })

    test('An open WebSocket outlives its device, and no other is opened', async () => {
      const device = await latchkey.register(`to be deleted behind ${kind.name}`)
      const { tunnel } = await ask([...device.bearer, ...WEBSOCKET])
      if (tunnel === undefined) throw new Error('no tunnel')
      const { socket, head } = tunnel
      await receive(socket, GREETING.length - head.length)
      await device.delete()
      expect((await ask([...device.bearer, ...WEBSOCKET])).status).toBe(401)
      socket.write('still open')
      expect(await receive(socket, 'still open'.length)).toBe('still open')
    })

    test('The protocol may be spelt WebSocket or WEBSOCKET (RFC 9110 §7.8)', async () => {
      for (const spelling of ['WebSocket', 'WEBSOCKET']) {
        const spelt = WEBSOCKET.map(([name, value]): readonly [string, string] => [
          name,
          name === 'Upgrade' ? spelling : value,
        ])
        expect((await ask([...latchkey.bearer, ...spelt])).status).toBe(101)
      }
      const passed = upstream.upgraded.map((fields) => valuesOf(fields, 'upgrade'))
      expect(passed).toEqual([['websocket'], ['websocket']])
    })

    test('Latchkey is not asked to upgrade', async () => {
      await ask([...latchkey.bearer, ...WEBSOCKET])
      expect(latchkey.sent()).toMatch(/^GET \/v1\/forward-auth/)
      expect(latchkey.sent()).not.toMatch(/^(upgrade|sec-websocket-.*):/im)
    })

    test.each([
      'h2c',
      'H2C',
      ' h2c ',
      'TLS/1.0',
      'websocket/13',
      'websocket, h2c',
      'h2c, websocket',
      ['', 'h2c'],
    ])('Upgrade: %j reaches the API as a request without an upgrade', async (protocols) => {
      expect(await ask([...latchkey.bearer, ...upgradeTo([protocols].flat())])).toEqual({
        status: 200,
        tunnel: undefined,
      })
      expect(upstream.upgraded).toEqual([])
      expect(upstream.plain).toHaveLength(1)
      expect(valuesOf(upstream.plain[0], 'upgrade')).toEqual([])
      expect(valuesOf(upstream.plain[0], 'http2-settings')).toEqual([])
    })

    test.each([[['h2c', 'websocket']], [['websocket', 'h2c']]])(
      'Of two Upgrade headers, %j, no other than websocket reaches the API',
      async (protocols) => {
        await ask([...latchkey.bearer, ...upgradeTo(protocols)])
        const [reached] = [...upstream.upgraded, ...upstream.plain]
        expect(reached).toBeDefined()
        expect([[], ['websocket']]).toContainEqual(valuesOf(reached, 'upgrade'))
        expect(valuesOf(reached, 'http2-settings')).toEqual([])
      },
    )

    test('CONNECT makes no tunnel to the API, not even for a good key', async () => {
      for (const target of ['api.example.com:80', `127.0.0.1:${upstream.port}`]) {
        const head = headOf(`CONNECT ${target}`, {
          Host: target,
          ...Object.fromEntries(latchkey.bearer),
        })
        const inside = headOf('GET /inside', { 'X-Device-Id': FORGED })
        const heard = await converse(proxy.port, head + inside)
        expect(heard).toMatch(/^HTTP\/1\.1 40[05] /)
        expect([...upstream.upgraded, ...upstream.plain]).toEqual([])
      }
    })

    test('Over HTTP/2 no method and no protocol but websocket makes a tunnel', async () => {
      const session = await proxy.connectHttp2()
      onTestFinished(() => session.destroy())
      const bearer = Object.fromEntries(latchkey.bearer)
      const tunnel = { ':method': 'CONNECT', ':authority': `localhost:${upstream.port}`, ...bearer }
      expect([400, 405, undefined]).toContain(await statusOf(session, tunnel))
      // RFC 8441: only HAProxy offers WebSockets over HTTP/2.
      const extended = { ...tunnel, ':scheme': 'http', ':path': '/' }
      for (const protocol of ['h2c', 'connect-udp', 'websocket, h2c']) {
        await statusOf(session, { ...extended, ':protocol': protocol })
      }
      expect(upstream.upgraded).toEqual([])
      for (const fields of upstream.plain) expect(valuesOf(fields, 'upgrade')).toEqual([])
      if (session.remoteSettings.enableConnectProtocol !== true) return
      expect(await statusOf(session, { ...extended, ':protocol': 'websocket' })).toBe(200)
      expect(upstream.upgraded).toHaveLength(1)
    })

    test('A request that asks for no upgrade reaches the API without one', async () => {
      expect((await ask(latchkey.bearer)).status).toBe(200)
      expect(upstream.plain).toHaveLength(1)
      expect(valuesOf(upstream.plain[0], 'upgrade')).toEqual([])
    })
  },
)

import { beforeAll, describe, expect, it } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { latchkey, upstream } from './support/both-ends.ts'
import { FORGED, identityIn } from './support/identity-headers.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import { converse, headOf } from './support/raw-socket.ts'

const HOST = 'api.example.com'

const METHODS = [
  'get',
  'options',
  'Options',
  'OPTIONS/..',
  'TRACE',
  'PROPFIND',
  'PRI',
  'connect',
  'X'.repeat(300),
]

const TARGETS = [
  '/',
  '//',
  `//${HOST}/x`,
  '/a/../b',
  '/../../b',
  '/a/./b',
  '/a%2f..%2fb',
  '/%2e%2e/b',
  '/a%00b',
  `/a%0d%0aX-Device-Id:%20${FORGED}`,
  '/a\\..\\b',
  '/a;b/..;/c',
  '/a?b=/../c',
  '/a#b',
  'a',
  '*',
  '?a',
  `/${'x'.repeat(7000)}`,
  `http://${HOST}/a`,
  `http://${HOST}//a/../b`,
  'http://other.example/a',
  'https://other.example:443/a',
  // What nginx's file calls the place where Latchkey is asked.
  '/_latchkey',
  '//_latchkey',
  '/%5flatchkey',
  '/a/../_latchkey',
  '/v1/forward-auth?owner=any',
]

/** Two ways to say how long a body is, of which a second server might take the other one. */
const FRAMINGS: readonly Readonly<Record<string, string>>[] = [
  { 'Content-Length': '5', 'Transfer-Encoding': 'chunked' },
  { 'Transfer-Encoding': 'chunked', 'Content-Length': '5' },
  { 'Content-Length': '5', 'content-length': '0' },
  { 'Content-Length': '+5' },
  { 'Transfer-Encoding': 'chunked', 'transfer-encoding': 'identity' },
  { 'Transfer-Encoding': 'identity, chunked' },
  { 'Transfer-Encoding': 'xchunked' },
  { 'Transfer-Encoding': '"chunked"' },
  { 'Transfer-Encoding': '\vchunked' },
  { 'Transfer-Encoding ': 'chunked' },
]

const PREFLIGHT = { Origin: 'https://pages.example', 'Access-Control-Request-Method': 'PUT' }

/** A question of the proxy's, which no client's method, target or body changes. */
const QUESTIONS =
  /^(GET \/v1\/forward-auth\?owner=any&scope=telemetry:write HTTP\/1\.1\r\n([^\r\n]+\r\n)+\r\n)*$/

/** All that reached the API did so as this device's. */
function expectOnlyOwn(label: string): void {
  const devices = upstream.received.map(({ fields }) => identityIn(fields)['x-device-id'])
  expect({ label, devices }).toEqual({ label, devices: devices.map(() => [latchkey.deviceId]) })
  expect(latchkey.sent()).toMatch(QUESTIONS)
}

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  'Smuggling through $label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])
    let proxy: Proxy

    async function ask(route: string, fields: Readonly<Record<string, string>>, body = '') {
      const head = headOf(route, { Host: HOST, Connection: 'close', ...fields })
      return await converse(proxy.port, head + body)
    }

    beforeAll(async () => {
      const api = `127.0.0.1:${upstream.port}`
      proxy = await kind.start({ latchkey: latchkey.address, api })
      return proxy.stop
    })

    test('Without a key no method reaches the API, and none but OPTIONS is a preflight', async () => {
      const heard = await Promise.all(METHODS.map((method) => ask(`${method} /`, PREFLIGHT)))
      expect(heard.map((answer) => /^HTTP\/1\.1 4\d\d /.test(answer))).toEqual(
        METHODS.map(() => true),
      )
      expect(upstream.received).toEqual([])
      expect(latchkey.sent()).toMatch(QUESTIONS)
    })

    test('With a key a method reaches the API unchanged, as its device’s, or not at all', async () => {
      const bearer = Object.fromEntries(latchkey.bearer)
      await Promise.all(METHODS.map((method) => ask(`${method} /`, bearer)))
      expectOnlyOwn('methods')
      for (const { method } of upstream.received) expect(METHODS).toContain(method)
    })

    test('Without a key no target reaches the API, however it is written', async () => {
      const heard = await Promise.all(TARGETS.map((target) => ask(`GET ${target}`, {})))
      expect(upstream.received).toEqual([])
      for (const answer of heard) expect(answer).toMatch(/^(HTTP\/1\.1 [34]\d\d |$)/)
      expect(latchkey.sent()).toMatch(QUESTIONS)
    })

    test('With a key a target reaches the API as its device’s, or not at all', async () => {
      const bearer = Object.fromEntries(latchkey.bearer)
      await Promise.all(TARGETS.map((target) => ask(`GET ${target}`, bearer)))
      expect(upstream.received.length).toBeGreaterThan(5)
      expectOnlyOwn('targets')
      expect(JSON.stringify(upstream.received.map(({ fields }) => fields))).not.toContain(FORGED)
    })

    test('A body that has two lengths hides no second request', async () => {
      const bearer = Object.fromEntries(latchkey.bearer)
      const hidden = headOf('GET /hidden', { Host: HOST, 'X-Device-Id': FORGED })
      for (const framing of FRAMINGS) {
        await ask('POST /', { ...bearer, ...framing }, `0\r\n\r\n${hidden}`)
        expectOnlyOwn(JSON.stringify(framing))
        expect(JSON.stringify(upstream.received.map(({ fields }) => fields))).not.toContain(FORGED)
      }
      expect(upstream.received.map(({ url }) => url)).not.toContain('/hidden')
    })

    test('A refused HEAD has no body that would be read as the next answer', async () => {
      const head = headOf('HEAD /', { Host: HOST })
      const next = headOf('GET /', { Host: HOST, Connection: 'close' })
      const heard = await converse(proxy.port, head + next)
      expect(heard.split(/\r\n\r\n/)[1]).toMatch(/^HTTP\/1\.1 401 /)
      expect(heard.match(/HTTP\/1\.1 401 /g)).toHaveLength(2)
    })
  },
)

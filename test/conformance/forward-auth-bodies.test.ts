import { createServer, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { latchkey, upstream } from './support/both-ends.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import { listen, send } from './support/raw-http.ts'

const BODY = 'latchkey-body-'.repeat(375_000)

/** One or more requests that are a head and nothing else. */
const HEADS =
  /^(GET \/v1\/forward-auth\?owner=any&scope=telemetry:write HTTP\/1\.1\r\n([^\r\n]+\r\n)+\r\n)+$/

function expectNoBodyAtLatchkey(): void {
  expect(latchkey.sent()).toMatch(HEADS)
  expect(latchkey.sent()).not.toMatch(/^(content-length|transfer-encoding|expect):/im)
}

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  'Bodies through $label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])
    let proxy: Proxy

    beforeAll(async () => {
      const api = `127.0.0.1:${upstream.port}`
      proxy = await kind.start({ latchkey: latchkey.address, api })
      return proxy.stop
    })

    test.each([
      { framing: 'with its length declared', isChunked: false },
      { framing: 'in chunks', isChunked: true },
    ])('A body of 5 MB $framing reaches the API, and not Latchkey', async ({ isChunked }) => {
      const request = { method: 'POST', fields: latchkey.bearer, body: BODY, isChunked }
      expect((await send(proxy.port, request)).status).toBe(200)
      expect(upstream.received).toHaveLength(1)
      expect(upstream.received[0]?.body === BODY).toBe(true)
      expectNoBodyAtLatchkey()
    })

    test('A body of 5 MB without a key reaches neither the API nor Latchkey', async () => {
      const answer = await send(proxy.port, { method: 'POST', body: BODY })
      expect(answer.status).toBe(401)
      expect(upstream.received).toEqual([])
      expectNoBodyAtLatchkey()
    })

    test('A client that waits for 100 Continue before its body is heard', async () => {
      const expecting = [...latchkey.bearer, ['Expect', '100-continue'] as const]
      const request = { method: 'PUT', fields: expecting, body: 'after the 100' }
      expect((await send(proxy.port, request)).status).toBe(200)
      expect(upstream.received).toMatchObject([{ method: 'PUT', body: 'after the 100' }])
      expectNoBodyAtLatchkey()
    })

    test('The API reads the first bytes of a body while the client still sends it', async () => {
      const echo = createServer((incoming, response) => {
        incoming.once('data', (first: Buffer) => response.end(first))
      })
      onTestFinished(() => void echo.close())
      const api = `127.0.0.1:${await listen(echo)}`
      const streaming = await kind.start({ latchkey: latchkey.address, api })
      onTestFinished(streaming.stop)
      const headers = Object.fromEntries(latchkey.bearer)
      const { port } = streaming
      const sent = request({ host: '127.0.0.1', port, method: 'POST', headers, agent: false })
      onTestFinished(() => void sent.destroy())
      const answer = new Promise<string>((resolve, reject) => {
        sent.on('response', (response) => resolve(text(response))).on('error', reject)
      })
      sent.write('the first bytes')
      expect(await answer).toBe('the first bytes')
    })
  },
)

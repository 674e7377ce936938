import { describe, expect, it, onTestFinished } from 'vitest'
import type { Options } from '../../scripts/forward-auth/options.ts'
import { process } from '../../scripts/tools.ts'
import { latchkey, upstream } from './support/both-ends.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import { type Fields, send, startRecordingServer } from './support/raw-http.ts'

const PREFLIGHT: Fields = [
  ['Origin', 'https://pages.example'],
  ['Access-Control-Request-Method', 'PUT'],
]

/** What Latchkey was asked, by its own understanding of the query. */
function asked(): [string, string][] {
  const [, target = ''] = latchkey.sent().split(' ')
  return [...new URL(target, 'http://localhost').searchParams]
}

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  'What is asked through $label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])

    async function startWith(options: Partial<Options>): Promise<Proxy> {
      const api = `127.0.0.1:${upstream.port}`
      const proxy = await kind.start({ latchkey: latchkey.address, api, options })
      onTestFinished(proxy.stop)
      return proxy
    }

    test("The audience and every scope reach Latchkey as they were given, and so does the client's key", async () => {
      const audience = 'https://api.example/v2?a=b&c=(d)!*,$1;e%20'
      const { port } = await startWith({ scopes: ['telemetry:write', 'a.b-c_d:e'], audience })
      // No token is for that audience, which Latchkey says to everybody.
      const answer = await send(port, { path: '/?audience=x', fields: latchkey.bearer })
      expect({ status: answer.status, received: upstream.received }).toEqual({
        status: 403,
        received: [],
      })
      expect(asked()).toEqual([
        ['owner', 'any'],
        ['scope', 'telemetry:write'],
        ['scope', 'a.b-c_d:e'],
        ['audience', audience],
      ])
    })

    test('A proxy that cannot reach Latchkey lets nobody in, and Caddy alone says no time', async () => {
      const nobody = await startRecordingServer()
      nobody.close()
      const { port } = await startWith({ latchkey: new URL(`http://127.0.0.1:${nobody.port}`) })
      const { status, headers } = await send(port, { fields: latchkey.bearer })
      expect([status, headers['retry-after']]).toEqual(
        kind.name === 'caddy' ? [502, undefined] : [503, '5'],
      )
      expect(upstream.received).toEqual([])
    })

    test("A device of another owner's does not pass", async () => {
      const { port } = await startWith({ owner: 'user_01k8p4wqz3e9t5x7m2n6b0v1ha' })
      expect((await send(port, { fields: latchkey.bearer })).status).toBe(401)
      expect(upstream.received).toEqual([])
    })

    test('A file without preflights has them asked about as everything else', async () => {
      const { port } = await startWith({ hasPreflights: false })
      const preflight = { method: 'OPTIONS', fields: PREFLIGHT }
      expect((await send(port, preflight)).status).toBe(401)
      expect(upstream.received).toEqual([])
      expect(latchkey.sent()).toMatch(/^GET \/v1\/forward-auth/)
      expect((await send(port, { fields: latchkey.bearer })).status).toBe(200)
    })
  },
)

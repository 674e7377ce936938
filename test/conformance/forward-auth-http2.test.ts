import type { ClientHttp2Session } from 'node:http2'
import { beforeAll, describe, expect, it } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { latchkey, upstream } from './support/both-ends.ts'
import { sendHttp2 } from './support/http2-client.ts'
import { FORGED, forged, forgeries, identityIn } from './support/identity-headers.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import { type Fields } from './support/raw-http.ts'

const BAD: Fields = [['Authorization', 'Bearer lk_bad']]

/** The ids of the devices whose requests reached the API. */
function devicesReceived(): (string[] | undefined)[] {
  return upstream.received.map(({ fields }) => identityIn(fields)['x-device-id'])
}

describe.each(PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install})` })))(
  'HTTP/2 through $label',
  ({ kind }: { readonly kind: ProxyKind }) => {
    const test = it.skipIf(!kind.isInstalled && !process.env['CI'])
    let proxy: Proxy
    let session: ClientHttp2Session

    beforeAll(async () => {
      const api = `127.0.0.1:${upstream.port}`
      proxy = await kind.start({ latchkey: latchkey.address, api })
      session = await proxy.connectHttp2()
      return async () => {
        session.destroy()
        await proxy.stop()
      }
    })

    test('A good key is let in, and the API learns whose it is', async () => {
      const path = '/a%20path?x=%2F'
      expect(await sendHttp2(session, { method: 'PATCH', path, fields: latchkey.bearer })).toBe(200)
      expect(upstream.received).toMatchObject([{ method: 'PATCH', url: path }])
      expect(devicesReceived()).toEqual([[latchkey.deviceId]])
    })

    test('Each of many requests on one connection is decided by its own key', async () => {
      const credentials = Array.from({ length: 30 }, (_, index) =>
        index % 3 === 0 ? latchkey.bearer : index % 3 === 1 ? BAD : [],
      )
      const statuses = await Promise.all(
        credentials.map(async (fields) => await sendHttp2(session, { fields })),
      )
      expect(statuses).toEqual(
        credentials.map((fields) => (fields === latchkey.bearer ? 200 : 401)),
      )
      expect(devicesReceived()).toEqual(Array.from({ length: 10 }, () => [latchkey.deviceId]))
    })

    test('No identity that a client made up passes, however it is written', async () => {
      for (const fields of forgeries()) {
        upstream.received.length = 0
        const request = { fields: [...fields, ...latchkey.bearer] }
        // What is there twice may be refused as a whole; HAProxy ends the connection of a request
        // that has over a hundred fields.
        const status = await sendHttp2(session, request).catch(() => 400)
        if (session.destroyed) session = await proxy.connectHttp2()
        if (status === 400) continue
        expect(devicesReceived()).toEqual([[latchkey.deviceId]])
        expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
      }
    })

    test('A client that has an identity and no key is refused', async () => {
      expect(await sendHttp2(session, { fields: forged((name) => name) })).toBe(401)
      expect(upstream.received).toEqual([])
    })

    test('A body of 5 MB reaches the API, and not Latchkey', async () => {
      const body = 'latchkey-body-'.repeat(375_000)
      const request = { method: 'POST', fields: latchkey.bearer, body }
      expect(await sendHttp2(session, request)).toBe(200)
      expect(upstream.received[0]?.body === body).toBe(true)
      expect(latchkey.sent()).toMatch(/^GET \/v1\/forward-auth/)
      expect(latchkey.sent()).not.toContain('latchkey-body')
      expect(latchkey.sent()).not.toMatch(/^(content-length|transfer-encoding):/im)
    })

    test('An identity in the trailers does not reach the API', async () => {
      // A connection of its own: nginx ends one that brings trailers.
      const alone = await proxy.connectHttp2()
      const trailers = forged((name) => name)
      const request = { method: 'POST', fields: latchkey.bearer, body: 'x', trailers }
      const status = await sendHttp2(alone, request).catch(() => undefined)
      alone.destroy()
      expect(status).toBe(kind.name === 'nginx' ? undefined : 200)
      if (status === 200) expect(devicesReceived()).toEqual([[latchkey.deviceId]])
      if (kind.passesTrailers) return
      expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
    })

    test('A CORS preflight passes without an identity, and no other OPTIONS does', async () => {
      const origin = ['Origin', 'https://pages.example'] as const
      const asked = ['Access-Control-Request-Method', 'PUT'] as const
      const preflight = [origin, asked, ...forged((name) => name)]
      expect(await sendHttp2(session, { method: 'OPTIONS', fields: preflight })).toBe(200)
      expect(devicesReceived()).toEqual([undefined])
      expect(JSON.stringify(upstream.received)).not.toContain(FORGED)
      for (const fields of [[], [origin], [asked], [...preflight, ...BAD]]) {
        expect(await sendHttp2(session, { method: 'OPTIONS', fields })).toBe(401)
      }
      expect(upstream.received).toHaveLength(1)
    })
  },
)

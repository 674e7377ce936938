import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { FORGED, forged, forgeries } from './support/identity-headers.ts'
import { PHP, type PhpApi, replacementsFor, startPhp } from './support/php.ts'
import { PROXIES, type Proxy, type ProxyKind } from './support/proxies.ts'
import { type Fields, send } from './support/raw-http.ts'
import { startTappedLatchkey, type TappedLatchkey } from './support/tapped-latchkey.ts'

const NAMES = [
  'HTTP_X_DEVICE_ID',
  'HTTP_X_DEVICE_NAME',
  'HTTP_X_OWNER_ID',
  'HTTP_X_KEY_ID',
  'HTTP_X_DEVICE_SCOPES',
]

const isSkipped = !PHP.isInstalled && !process.env['CI']

let latchkey: TappedLatchkey
let php: PhpApi | undefined

beforeAll(async () => {
  latchkey = await startTappedLatchkey()
  if (!isSkipped) php = await startPhp()
})

afterAll(async () => {
  await php?.stop()
  await latchkey.close()
})

describe.each(
  PROXIES.map((kind) => ({ kind, label: `${kind.name} (${kind.install}; ${PHP.install})` })),
)('PHP behind $label', ({ kind }: { readonly kind: ProxyKind }) => {
  const test = it.skipIf(isSkipped || (!kind.isInstalled && !process.env['CI']))
  let proxy: Proxy

  /** What `$_SERVER` holds; undefined: the proxy refused the request. */
  async function serverVariables(
    fields: Fields,
    method = 'GET',
  ): Promise<Record<string, unknown> | undefined> {
    const { status, text } = await send(proxy.port, { method, path: '/index.php', fields })
    if (status === 400) return undefined
    expect({ status, text }).toMatchObject({ status: 200 })
    const read: unknown = JSON.parse(text)
    return { ...(typeof read === 'object' ? read : {}) }
  }

  beforeAll(async () => {
    if (php === undefined) return undefined
    proxy = await kind.start({
      latchkey: latchkey.address,
      api: php.address,
      replacements: replacementsFor(kind.name, php),
    })
    return proxy.stop
  })

  test('PHP reads who the device is from Latchkey alone, however a client spells a name', async () => {
    const good = await serverVariables(latchkey.bearer)
    expect(good).toMatchObject({ HTTP_X_DEVICE_ID: latchkey.deviceId })
    for (const fields of forgeries()) {
      const read = await serverVariables([...fields, ...latchkey.bearer])
      if (read === undefined) continue
      for (const name of NAMES) expect(read[name]).toBe(good?.[name])
      expect(JSON.stringify(read)).not.toContain(FORGED)
    }
  })

  test('PHP reads no identity in a CORS preflight', async () => {
    const preflight: Fields = [
      ['Origin', 'https://pages.example'],
      ['Access-Control-Request-Method', 'PUT'],
    ]
    for (const spell of [(name: string) => name, (name: string) => name.replaceAll('-', '.')]) {
      const read = await serverVariables([...preflight, ...forged(spell)], 'OPTIONS')
      expect(read).toMatchObject({ REQUEST_METHOD: 'OPTIONS' })
      for (const name of NAMES) expect(read).not.toHaveProperty(name)
      expect(JSON.stringify(read)).not.toContain(FORGED)
    }
  })

  test('PHP is not called for a client that has an identity and no key', async () => {
    const { status, text } = await send(proxy.port, { path: '/index.php', fields: forged(String) })
    expect(status).toBe(401)
    expect(text).not.toContain('HTTP_X_DEVICE_ID')
  })
})

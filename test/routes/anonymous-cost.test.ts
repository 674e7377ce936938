import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import security from '../../docs/security.md?raw'
import { notePasswordHashes } from '../../src/services/sessions/password-hashes.ts'
import { loadSettings } from '../../src/settings.ts'
import { allowedBy, costLines } from '../support/anonymous-cost.ts'
import { formOf } from '../support/claims.ts'
import { call, freshIp } from '../support/client.ts'
import { cheapHashing } from '../support/sign-in.ts'
import { contextAt } from '../support/isolates.ts'
import { meterIo } from '../support/io-meter.ts'
import { type NamedRoute, pathOf, routesFor } from '../support/route-table.ts'

const REQUESTS = Number(env.TEST_ANONYMOUS_REQUESTS)
const MINUTE_MS = 60_000
const PROBE_MS = 5000

/** What presents nothing genuine: nothing at all, or where one is asked for, a made-up credential. */
const PRESENTED = [
  { label: 'no credential', headers: {}, routes: routesFor() },
  {
    label: 'a made-up credential',
    headers: { Authorization: `Bearer lk_${'a'.repeat(40)}` },
    routes: routesFor().filter(({ credential }) => credential !== 'none'),
  },
]

/** The body that the route takes, with a name that nobody has: one that is taken costs less. */
function bodyOf({ pattern, body, form }: NamedRoute, request: number) {
  const username = `${pattern.replaceAll(/\W/g, '')}-${request}-${Date.now()}`
  if (form !== undefined) return formOf('username' in form ? { ...form, username } : form)
  if (body === undefined) return {}
  return { body: 'username' in body ? { ...body, username } : body }
}

/** How often a door may let somebody in between two times. */
function mostIn({ door }: NamedRoute, from: number, to: number): number {
  if (door === undefined) return 0
  if (door.charges.length === 0) return 1 + Math.ceil((to - from) / PROBE_MS)
  const minutes = Math.floor(to / MINUTE_MS) - Math.floor(from / MINUTE_MS) + 1
  return minutes * allowedBy(door).network
}

beforeAll(async () => {
  const settings = loadSettings(cheapHashing)
  await notePasswordHashes({ ...contextAt(Date.now()), settings })
})

describe.each(PRESENTED)('$label from one network, again and again', ({ headers, routes }) => {
  it.each(routes)('costs no more than docs/security.md says: $name', async (route) => {
    const { env: metered, spent } = meterIo(cheapHashing)
    const path = pathOf(route, () => 'nothing-of-anybody')
    const from = Date.now()
    const sender = { 'CF-Connecting-IP': freshIp(), ...headers }
    for (let request = 0; request < REQUESTS; request += 1) {
      const sent = { headers: {}, ...bodyOf(route, request) }
      const options = { ...sent, headers: { ...sender, ...sent.headers }, env: metered }
      expect((await call(route.method, path, options)).status).not.toBe(500)
    }
    const most = mostIn(route, from, Date.now())
    const { statements = 0, rowsWritten = 0, objectCalls = 0 } = route.door?.cost ?? {}
    const allowed = [most * statements, most * rowsWritten, most * objectCalls]
    const measured = [spent.statements, spent.rowsWritten, spent.objectCalls]
    expect(measured.map((amount, index) => Math.max(0, amount - (allowed[index] ?? 0)))).toEqual([
      0, 0, 0,
    ])
  })
})

describe('docs/security.md', () => {
  it('says what the doors say of what an anonymous caller can cost', () => {
    for (const line of costLines(routesFor())) expect(security).toContain(line)
  })
})

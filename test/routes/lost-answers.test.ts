import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { answerClaim, askForCodes } from '../support/claims.ts'
import { type Answer, call, type CallOptions, pick } from '../support/client.ts'
import { type Fault, withFaultAt } from '../support/databases.ts'
import { endOutage } from '../support/environments.ts'
import { makeDevice, makeUser, markUsed, setCheapPassword } from '../support/fixtures.ts'
import { basic } from '../support/oauth.ts'
import { type NamedRoute, pathOf, routesFor } from '../support/route-table.ts'
import { changesBetween, execute, readTables } from '../support/rows.ts'

/** A request that is taken, from somebody whom no other test knows. */
type Prepared = { readonly path: string; readonly options: CallOptions }

const PASSWORD = 'the old password'

/** Routes that change nothing in D1, or open something new at each call, on purpose. */
const NOT_REPEATABLE: ReadonlySet<string> = new Set([
  'POST /v1/sessions', // a second sign-in is a second session
  'POST /auth',
  'POST /claim',
  'POST /oauth/device_authorization', // a second request has codes of its own
  'ALL /v1/forward-auth',
  'ALL /device/check-in',
  'POST /v1/device/check-ins',
])

const ROUTES = routesFor().filter(
  ({ name, method }) => method !== 'GET' && !NOT_REPEATABLE.has(name),
)

async function prepare(route: NamedRoute): Promise<Prepared> {
  const user = await makeUser()
  await setCheapPassword(user, PASSWORD)
  const device = await makeDevice(user)
  await markUsed(device)
  await execute(
    'update api_keys set self_rotation = 1, scopes = ? where id = ?',
    KEYS_VERIFY,
    device.keyId,
  )
  const asker = await askForCodes({ scope: 'telemetry:write' })
  // An approval is what DELETE takes back.
  if (route.method === 'DELETE') await answerClaim(user, asker)
  const ids = {
    session: user.sessionId,
    device: device.id,
    key: device.keyId,
    claim: asker.userCode,
    'problem code': '',
  }
  const key = { 'Idempotency-Key': `a-key-of-${user.id}` }
  const path = pathOf(route, (kind) => ids[kind])
  if (route.form !== undefined) {
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const raw = new URLSearchParams({ ...route.form, ...formFor(route, device.secret) }).toString()
    return { path, options: { raw, headers: { ...headers, ...basic(device.id, device.secret) } } }
  }
  const tokens = { 'access token': user.token, 'device secret': device.secret }
  const token = new Map<string, string>(Object.entries(tokens)).get(route.credential)
  const body = { ...route.body, ...(await bodyFor(route, user.username)) }
  return { path, options: { body, headers: key, ...(token === undefined ? {} : { token }) } }
}

const KEYS_VERIFY = '["keys:verify"]'

function formFor({ name }: NamedRoute, secret: string): Record<string, string> {
  return name === 'POST /oauth/revoke' ? { token: secret } : {}
}

async function bodyFor({ name }: NamedRoute, username: string): Promise<object> {
  switch (name) {
    case 'POST /v1/users':
    case 'POST /register':
      return { username: `${username}-2` }
    case 'POST /v1/sessions/refresh': {
      const body = { username, password: PASSWORD }
      const opened = await call('POST', '/v1/sessions', { body })
      return { refresh_token: pick(opened.body, 'refresh_token') }
    }
    default:
      return {}
  }
}

type Run = {
  readonly answers: readonly Answer[]
  readonly changes: readonly string[]
  readonly calls: number
}

/** Sends a request that meets a fault, and again if it was not answered, as a client would. */
async function run(route: NamedRoute, fault: Fault, index: number): Promise<Run> {
  endOutage()
  const { path, options } = await prepare(route)
  const before = await readTables()
  const faulty = withFaultAt(fault, index)
  const first = await call(route.method, path, { ...options, env: faulty.env })
  const answers = [first]
  endOutage()
  if (first.status >= 500) answers.push(await call(route.method, path, { ...options, env }))
  const changes = changesBetween(before, await readSettledTables())
  return { answers, changes, calls: faulty.calls() }
}

/** The tables once what comes after the answer has been written, too. */
async function readSettledTables(): ReturnType<typeof readTables> {
  for (let known = await readTables(); ;) {
    await scheduler.wait(20)
    const read = await readTables()
    if (changesBetween(known, read).length === 0) return read
    known = read
  }
}

/** How a change that was made already is refused: what it changed is gone, taken or not as it was. */
const DONE_BEFORE: ReadonlySet<number> = new Set([400, 401, 403, 404, 409])

/** A run in which nothing goes wrong. */
const undisturbed = async (route: NamedRoute) => await run(route, 'failed', -1)

describe.each(ROUTES)('$name', (route) => {
  it.each<Fault>(['answer lost', 'failed', 'delayed'])(
    'leaves what one undisturbed call leaves, if any call to D1 is %s and the client asks again',
    async (fault) => {
      const smooth = await undisturbed(route)
      expect(smooth.answers[0]?.status).toBeLessThan(300)
      expect(smooth.calls).toBeGreaterThan(0)
      for (let index = 0; index < smooth.calls; index += 1) {
        const { answers, changes } = await run(route, fault, index)
        expect(changes).toEqual(smooth.changes)
        const last = answers.at(-1)
        // Without an Idempotency-Key, what is done already may be refused the second time.
        const isDoneBefore = fault === 'answer lost' && DONE_BEFORE.has(last?.status ?? 0)
        if (!isDoneBefore) expect(last?.status).toBe(smooth.answers[0]?.status)
        if (fault === 'delayed') expect(answers).toHaveLength(1)
        await expectHeld(smooth.answers[0], last)
      }
    },
  )

  it('does nothing while any call to D1 hangs, and says nothing', async () => {
    const smooth = await undisturbed(route)
    for (let index = 0; index < smooth.calls; index += 1) {
      endOutage()
      const { path, options } = await prepare(route)
      const before = await readTables()
      const { env: hung } = withFaultAt('hanging', index)
      const answered = call(route.method, path, { ...options, env: hung })
      const outcome = await Promise.race([answered, scheduler.wait(100)])
      const changes = changesBetween(before, await readTables())
      if (outcome === undefined || outcome.status >= 500) expect(changes).toEqual([])
    }
  })
})

/** The client holds what it was given: a secret works. */
async function expectHeld(smooth: Answer | undefined, last: Answer | undefined): Promise<void> {
  if (!smooth?.text.includes('"api_key":"')) return
  const secret = pick(last?.body, 'api_key')
  expect((await call('GET', '/v1/device', { token: secret })).status).toBe(200)
}

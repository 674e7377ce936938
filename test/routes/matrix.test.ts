import { beforeAll, describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import {
  type BadCredential,
  badAccessTokens,
  badDeviceSecrets,
} from '../support/bad-credentials.ts'
import { answerClaim, askForCodes } from '../support/claims.ts'
import { type Answer, call } from '../support/client.ts'
import { expectProblem, withoutInstance } from '../support/expectations.ts'
import { makeDevice, makeUser, type TestUser } from '../support/fixtures.ts'
import { KEY_KINDS } from '../support/limits.ts'
import { basic, expectOAuthError, isOAuthError, postForm } from '../support/oauth.ts'
import {
  type NamedRoute,
  type ParamKind,
  pathOf,
  ROUTES,
  routesFor,
  routesOfApp,
} from '../support/route-table.ts'
import { dumpDatabase } from '../support/rows.ts'
import { sentIn, triedIn, WORLDS, WORLDS_OF_SECRETS } from '../support/worlds.ts'

/** Where a path's ids are taken from: two devices of the caller's, another user's, and nowhere. */
type Place = 'own' | 'own second' | "another's" | 'nowhere'
const PLACES: readonly Place[] = ['own', 'own second', "another's", 'nowhere']

let caller: TestUser
let ids: Record<Place, Record<ParamKind, string>>
let accessTokens: BadCredential[]
const deviceSecrets: (BadCredential & { readonly kind: string })[] = []

beforeAll(async () => {
  caller = await makeUser()
  const other = await makeUser()
  ids = {
    own: await idsOf(caller),
    'own second': await idsOf(caller),
    "another's": { ...(await idsOf(other)), 'problem code': other.id },
    nowhere: {
      session: newId('sess'),
      device: newId('dev'),
      key: newId('key'),
      claim: 'BCDF-GHJK',
      'problem code': 'no-such-code',
    },
  }
  // What waits for a decision is nobody's yet: it becomes somebody's by being decided.
  await answerClaim(other, { userCode: ids["another's"].claim })
  accessTokens = await badAccessTokens()
  for (const [kind, limits] of KEY_KINDS) {
    for (const bad of await badDeviceSecrets(limits)) {
      deviceSecrets.push({ ...bad, kind, label: `${bad.label}, ${kind}` })
    }
  }
})

async function idsOf(user: TestUser): Promise<Record<ParamKind, string>> {
  const device = await makeDevice(user)
  return {
    session: user.sessionId,
    device: device.id,
    key: device.keyId,
    claim: (await askForCodes()).userCode,
    'problem code': 'not_found',
  }
}

describe('the table', () => {
  it('has a row for every route and a route for every row', () => {
    expect(routesOfApp().toSorted()).toEqual(Object.keys(ROUTES).toSorted())
  })
})

describe.each(WORLDS)("a user's route takes only a good access token, $label", (world) => {
  it.each(routesFor('access token'))('$name', async (route) => {
    const path = pathOf(route, (kind) => ids.own[kind])
    const before = await dumpDatabase()
    for (const { label, headers, code } of triedIn(world, accessTokens)) {
      const answer = await call(route.method, path, sentIn(world, { body: route.body, headers }))
      expectRefusal(answer, route, 401, code, label)
    }
    expect(await dumpDatabase()).toBe(before)
  })

  it.each(routesFor('access token'))('$name: of two at once, neither', async (route) => {
    const headers = { Authorization: `Bearer ${caller.token}, Bearer ${caller.token}` }
    const path = pathOf(route, (kind) => ids.own[kind])
    const before = await dumpDatabase()
    const answer = await call(route.method, path, sentIn(world, { body: route.body, headers }))
    expectRefusal(answer, route, 400, 'several_credentials', 'two')
    expect(await dumpDatabase()).toBe(before)
  })
})

describe.each(WORLDS_OF_SECRETS)("a device's route takes only a good secret, $label", (world) => {
  it.each(routesFor('device secret'))('$name', async (route) => {
    const before = await dumpDatabase()
    for (const { label, headers, code } of triedIn(world, deviceSecrets)) {
      const options = sentIn(world, { body: route.body, headers })
      const path = pathOf(route, (kind) => ids.own[kind])
      const answer = await call(route.method, path, options)
      expectRefusal(answer, route, 401, code, label)
    }
    expect(await dumpDatabase()).toBe(before)
  })

  it.each(routesFor('body field'))('$name', async (route) => {
    const before = await dumpDatabase()
    for (const { label, headers } of triedIn(world, deviceSecrets).filter(
      ({ headers }) => 'Authorization' in headers,
    )) {
      const body = { api_key: headers['Authorization']?.replace(/^Bearer /, '') }
      const answer = await call(route.method, route.pattern, sentIn(world, { body }))
      expect({ label, status: answer.status, body: answer.body }).toEqual({
        label,
        status: 403,
        body: { message: 'The provided API key is not valid' },
      })
    }
    expect(await dumpDatabase()).toBe(before)
  })
})

describe.each(WORLDS_OF_SECRETS)('an OAuth route takes only a good client, $label', (world) => {
  it.each(routesFor('client'))('$name', async (route) => {
    const before = await dumpDatabase()
    const { given } = world
    for (const { label, headers } of triedIn(world, deviceSecrets)) {
      const secret = headers['Authorization']?.replace(/^Bearer /, '') ?? ''
      const asClient = { ...given.headers, ...basic(ids.own.device, secret) }
      const answer = await postForm(route.pattern, route.form ?? {}, asClient, given.env)
      expect({ label, isRefused: answer.status === 401 }).toEqual({ label, isRefused: true })
      expectOAuthError(answer, 401, 'invalid_client')
      const bearer = { ...given.headers, ...headers }
      const asBearer = await postForm(route.pattern, route.form ?? {}, bearer, given.env)
      expect({ label, status: asBearer.status, isShaped: isOAuthError(asBearer) }).toEqual({
        label,
        status: 401,
        isShaped: true,
      })
    }
    expect(await dumpDatabase()).toBe(before)
  })
})

describe.each(WORLDS)("what is another's is the same 404 as what is not there, $label", (world) => {
  const owned = routesFor('access token').filter(({ params }) => params !== undefined)

  it.each(owned)('$name', async (route) => {
    const names = Object.keys(route.params ?? {})
    const before = await dumpDatabase()
    const bodies = new Set<string>()
    for (const places of choices(names.length)) {
      const [first = 'own'] = places
      const isOwn = first === 'own' || first === 'own second'
      if (isOwn && places.every((place) => place === first)) continue
      const path = pathOf(route, (kind, name) => ids[places[names.indexOf(name)] ?? 'own'][kind])
      const options = sentIn(world, { body: route.body, token: caller.token })
      const answer = await call(route.method, path, options)
      expectProblem(answer, 404, 'not_found')
      bodies.add(JSON.stringify(withoutInstance(answer.body)))
    }
    expect(bodies.size).toBe(1)
    expect(await dumpDatabase()).toBe(before)
  })
})

describe.each(WORLDS)('what one user reads names nothing of another, $label', (world) => {
  const reading = routesFor('access token').filter(({ method }) => method === 'GET')

  it.each(reading)('$name', async (route) => {
    const path = pathOf(route, (kind) => ids.own[kind])
    const answer = await call('GET', path, sentIn(world, { token: caller.token }))
    expect(answer.status).toBe(200)
    const page = world.given.headers?.['Origin'] ?? null
    expect(answer.headers.get('access-control-allow-origin')).toBe(page)
    for (const id of Object.values(ids["another's"])) expect(answer.text).not.toContain(id)
  })
})

/** Every way to take so many ids from the places. */
function choices(length: number): Place[][] {
  if (length === 0) return [[]]
  return choices(length - 1).flatMap((rest) => PLACES.map((place) => rest.concat(place)))
}

function expectRefusal(
  answer: Answer,
  route: NamedRoute,
  status: number,
  code: string,
  label: string,
): void {
  if (route.classic === undefined) {
    expect({ label, body: answer.body }).toMatchObject({ label, body: { code } })
    expectProblem(answer, status, code)
    return
  }
  expect({ label, status: answer.status, body: answer.body }).toEqual({
    label,
    status,
    body: { message: expect.stringMatching(/\S/) },
  })
  expect(answer.headers.get('content-type')).toBe('application/json')
  expect(answer.headers.has('www-authenticate')).toBe(status === 401)
}

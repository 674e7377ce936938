import * as fc from 'fast-check'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { bodiesFor, formsFor, pathSegments, queries, type Sent } from '../support/arbitraries.ts'
import { type Answer, call, type CallOptions, ORIGIN } from '../support/client.ts'
import { type Asker, askForCodes } from '../support/claims.ts'
import { captureConsole, eventsOf } from '../support/console.ts'
import {
  makeDevice,
  makeUser,
  setCheapPassword,
  type TestDevice,
  type TestUser,
} from '../support/fixtures.ts'
import { basic, isOAuthError } from '../support/oauth.ts'
import { execute } from '../support/rows.ts'
import { type NamedRoute, type ParamKind, pathOf, routesFor } from '../support/route-table.ts'

const BODIES_PER_ROUTE = 500
const OLD_PASSWORD = 'the old password'
const INVALID_CREDENTIALS = {
  description: 'Invalid credentials',
  error: 'Bad Request',
  status_code: 401,
}

/** One password attempt in ten goes on to be hashed: each blocks the isolate. */
function sparseLimiter(): RateLimit {
  let attempts = 0
  return {
    limit: () => {
      attempts += 1
      return Promise.resolve({ success: attempts % 10 === 1 })
    },
  }
}

const OPEN: RateLimit = { limit: () => Promise.resolve({ success: true }) }

const roomy = {
  ...env,
  PASSWORD_HASH: 'pbkdf2',
  PASSWORD_LIMITER_IP: sparseLimiter(),
  PASSWORD_LIMITER_USERNAME: OPEN,
  CLAIM_LIMITER_IP: OPEN,
  CLAIM_LIMITER_USER: OPEN,
}

/** Somebody with a device, until a call has removed either. */
type Stage = { readonly user: TestUser; readonly device: TestDevice; readonly asker: Asker }

async function setStage(): Promise<Stage> {
  const user = await makeUser()
  await setCheapPassword(user, OLD_PASSWORD)
  const device = await makeDevice(user)
  // The verifiers' route asks for it.
  await execute(`update api_keys set scopes = '["keys:verify"]' where id = ?`, device.keyId)
  return { user, device, asker: await askForCodes({ scope: 'telemetry:*' }) }
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('no body, query or path makes the application fail or answer out of shape', () => {
  it.each(routesFor())('$name', async (route) => {
    const lines = captureConsole()
    const wanted = fc.record({
      sent: sentTo(route),
      // Where parameters belong in the form, a query is one fault that hides the others.
      query: route.form === undefined ? queries : fc.oneof({ weight: 9, arbitrary: none }, queries),
      segment: fc.option(pathSegments, { nil: undefined, freq: 3 }),
    })
    let stage = await setStage()
    for (const { sent, query, segment } of fc.sample(wanted, BODIES_PER_ROUTE)) {
      const path = pathOf(route, (kind) => idOf(stage, kind))
      const wild = segment === undefined ? path : wildPath(route, segment)
      const url = query === '' ? wild : `${wild}${wild.includes('?') ? '&' : '?'}${query}`
      const answer = await call(route.method, url, optionsFor(route, stage, sent))
      const fault = faultOf(answer, route)
      if (fault !== undefined) expect.fail(describeFault(fault, answer, { sent, url }))
      if (hasRemoved(route, answer)) stage = await setStage()
    }
    expect(eventsOf(lines, 'failure')).toEqual([])
  })
})

const none = fc.constant('')

function sentTo({ method, body, form }: NamedRoute): fc.Arbitrary<Sent | undefined> {
  if (method === 'GET') return fc.constant(undefined)
  return form === undefined ? bodiesFor(body ?? {}) : formsFor(form)
}

/** The path with all parameters being the same wild text. */
function wildPath(route: NamedRoute, segment: string): string {
  return route.pattern.replaceAll(/:[a-z_]+/g, segment)
}

function idOf({ user, device, asker }: Stage, kind: ParamKind): string {
  switch (kind) {
    case 'session':
      return user.sessionId
    case 'device':
      return device.id
    case 'key':
      return device.keyId
    case 'claim':
      return asker.userCode
    case 'problem code':
      return 'not_found'
  }
}

function optionsFor(route: NamedRoute, stage: Stage, sent: Sent | undefined): CallOptions {
  const token = { 'access token': stage.user.token, 'device secret': stage.device.secret }
  const bearer =
    route.credential === 'access token' || route.credential === 'device secret'
      ? { token: token[route.credential] }
      : {}
  if (route.form !== undefined && sent !== undefined) {
    const { id, secret } = stage.device
    const client = route.credential === 'client' ? basic(id, secret) : {}
    return { raw: sent.raw, headers: { ...client, ...sent.headers }, env: roomy }
  }
  if (sent === undefined) return { ...bearer, env: roomy }
  const raw =
    route.credential === 'body field'
      ? sent.raw.replace('"made-up"', JSON.stringify(stage.device.secret))
      : sent.raw
  return { ...bearer, raw, headers: sent.headers, env: roomy }
}

/** Whether the caller, their session or their device may be gone or switched off now. */
function hasRemoved(route: NamedRoute, answer: Answer): boolean {
  const decides = route.name === 'POST /v1/claims/:user_code'
  return answer.status < 300 && (decides || ['DELETE', 'PATCH'].includes(route.method))
}

function describeFault(fault: string, { status, body }: Answer, input: unknown): string {
  return JSON.stringify({ fault, status, body, input }).slice(0, 2000)
}

/** What is wrong with an answer. Plain comparisons: there are thousands of answers. */
function faultOf(answer: Answer, route: NamedRoute): string | undefined {
  const { status, headers, body } = answer
  if (status >= 500) return 'a failure'
  if (status >= 300 && status < 400) return 'a redirection'
  const requestId = headers.get('x-request-id') ?? ''
  if (!/^[A-Za-z0-9_-]{8,64}$/.test(requestId)) return 'no request id'
  if (headers.get('x-content-type-options') !== 'nosniff') return 'not nosniff'
  // Good credentials were presented: only the password doors and refreshing may say 401.
  if (status === 401 && route.credential !== 'none') return '401 to a good credential'
  if (status < 400) return undefined
  if (route.page === true) return isPage(answer) ? undefined : 'no page'
  if (route.form !== undefined) return isOAuthError(answer) ? undefined : 'no error of OAuth'
  const fields = new Map(Object.entries(body ?? {}))
  const isShaped =
    route.classic === undefined
      ? isProblem(answer, fields, requestId)
      : isClassicError(answer, fields)
  return isShaped ? undefined : 'an error out of shape'
}

function isProblem(
  { status, headers }: Answer,
  fields: ReadonlyMap<string, unknown>,
  requestId: string,
): boolean {
  const code = fields.get('code')
  return (
    headers.get('content-type') === 'application/problem+json' &&
    typeof code === 'string' &&
    /^[a-z_]+$/.test(code) &&
    fields.get('type') === `${ORIGIN}/problems/${code}` &&
    fields.get('status') === status &&
    fields.get('instance') === `/requests/${requestId}` &&
    [fields.get('title'), fields.get('detail')].every((text) => typeof text === 'string')
  )
}

function isClassicError(
  { status, headers, text }: Answer,
  fields: ReadonlyMap<string, unknown>,
): boolean {
  if (headers.get('content-type') !== 'application/json') return false
  if (status === 401) return text === JSON.stringify(INVALID_CREDENTIALS)
  return fields.size === 1 && typeof fields.get('message') === 'string'
}

function isPage({ headers, text }: Answer): boolean {
  return (
    headers.get('content-type') === 'text/html; charset=UTF-8' &&
    headers.has('content-security-policy') &&
    text.startsWith('<!doctype html>') &&
    text.includes('role="alert"')
  )
}

import { app } from '../../src/app.ts'
import {
  type Charge,
  type ChargedDoor,
  CLAIM_REQUEST,
  type Cost,
  type FreeDoor,
  PASSWORD,
  PROBE,
} from '../../src/http/auth/doors.ts'

/** What a path parameter names. */
export type ParamKind = 'session' | 'device' | 'key' | 'claim' | 'problem code'

export type RouteRow = {
  /** What the route asks for. `body field` is the classic `api_key`; `client`, an OAuth client. */
  readonly credential: 'none' | 'access token' | 'device secret' | 'body field' | 'client'
  /** Errors are `{"message"}` and not problem documents. */
  readonly classic?: true
  readonly params?: Readonly<Record<string, ParamKind>>
  /** What the route's URL must ask for. */
  readonly query?: string
  /** A body that the route takes, for the routes that read one. */
  readonly body?: Readonly<Record<string, unknown>>
  /** A form that the route takes: it speaks OAuth, and its errors are those of RFC 6749 §5.2. */
  readonly form?: Readonly<Record<string, string>>
  /** It answers with pages, errors too. */
  readonly page?: true
  /** What stands before the I/O that it does for anybody; without one it does none. */
  readonly door?: AnonymousDoor
}

/** A door as an anonymous caller of the network `network` and the site `site` meets it. */
export type AnonymousDoor = { readonly charges: readonly Charge[]; readonly cost: Cost }

const ORIGIN = { network: 'network', site: 'site' }

function charged<Who>({ chargesOf, cost }: ChargedDoor<Who>, who: Who): AnonymousDoor {
  return { charges: chargesOf(ORIGIN, who), cost }
}

function free({ cost }: FreeDoor): AnonymousDoor {
  return { charges: [], cost }
}

const WITH_PASSWORD = charged(PASSWORD, { username: 'someone' })

const KEY = { id: 'device', key_id: 'key' } as const

/**
 * Every route of the application and who may call it. The matrix fails for a route that is missing
 * here and for a row that has no route: whoever adds a route decides here what guards it.
 */
export const ROUTES: Readonly<Record<string, RouteRow>> = {
  'POST /v1/users': {
    credential: 'none',
    body: { username: 'someone-new', password: 'a long password' },
    door: WITH_PASSWORD,
  },
  'POST /v1/sessions': {
    credential: 'none',
    body: { username: 'someone', password: 'a long password' },
    door: WITH_PASSWORD,
  },
  'POST /v1/sessions/refresh': { credential: 'none', body: { refresh_token: 'lkr_made-up' } },
  'GET /v1/sessions': { credential: 'access token' },
  'DELETE /v1/sessions/:id': { credential: 'access token', params: { id: 'session' } },
  'GET /v1/me': { credential: 'access token' },
  'PATCH /v1/me': {
    credential: 'access token',
    body: { current_password: 'the old password', password: 'the new password' },
  },
  'DELETE /v1/me': { credential: 'access token', body: { current_password: 'the old password' } },

  'POST /v1/devices': {
    credential: 'access token',
    body: { name: 'a device', metadata: { room: 4 }, key: { name: 'first' } },
  },
  'GET /v1/devices': { credential: 'access token' },
  'GET /v1/devices/:id': { credential: 'access token', params: { id: 'device' } },
  'PATCH /v1/devices/:id': {
    credential: 'access token',
    params: { id: 'device' },
    body: { name: 'taken over', metadata: { taken: true }, enabled: false },
  },
  'DELETE /v1/devices/:id': { credential: 'access token', params: { id: 'device' } },

  'GET /v1/devices/:id/keys': { credential: 'access token', params: { id: 'device' } },
  'POST /v1/devices/:id/keys': {
    credential: 'access token',
    params: { id: 'device' },
    body: { name: 'second', scopes: ['telemetry:*'], expires_in: 3600 },
  },
  'GET /v1/devices/:id/keys/:key_id': { credential: 'access token', params: KEY },
  'PATCH /v1/devices/:id/keys/:key_id': {
    credential: 'access token',
    params: KEY,
    body: { name: 'taken over', scopes: ['*'], expires_at: null, enabled: false },
  },
  'DELETE /v1/devices/:id/keys/:key_id': { credential: 'access token', params: KEY },
  'POST /v1/devices/:id/keys/:key_id/rotate': {
    credential: 'access token',
    params: KEY,
    body: { overlap_seconds: 60 },
  },
  'GET /v1/devices/:id/usage': { credential: 'access token', params: { id: 'device' } },
  'GET /v1/audit-events': { credential: 'access token' },

  'POST /v1/keys/verify': {
    credential: 'device secret',
    body: { api_key: 'made-up', scopes: ['telemetry:write'], fresh: true },
  },
  'ALL /v1/forward-auth': { credential: 'device secret', query: 'owner=any' },
  'POST /oauth/device_authorization': {
    credential: 'none',
    form: { client_id: 'acme-thermo-2', scope: 'telemetry:write', device_name: 'a device' },
    door: charged(CLAIM_REQUEST, null),
  },
  'GET /v1/claims/:user_code': { credential: 'access token', params: { user_code: 'claim' } },
  'POST /v1/claims/:user_code': {
    credential: 'access token',
    params: { user_code: 'claim' },
    body: {
      decision: 'approve',
      name: 'a device',
      scopes: ['telemetry:write'],
      key: { name: 'first', expires_in: 3600 },
    },
  },
  'DELETE /v1/claims/:user_code': { credential: 'access token', params: { user_code: 'claim' } },
  'GET /claim': { credential: 'none', page: true },
  'POST /claim': {
    credential: 'none',
    page: true,
    form: { username: 'someone', password: 'a long password', user_code: 'BCDF-GHJK' },
    door: WITH_PASSWORD,
  },
  'GET /v1/device': { credential: 'device secret' },
  'POST /v1/device/check-ins': { credential: 'device secret', body: { report: { ok: true } } },
  'POST /v1/device/rotate': { credential: 'device secret', body: { overlap_seconds: 60 } },

  'POST /oauth/token': { credential: 'client', form: { grant_type: 'client_credentials' } },
  'POST /oauth/introspect': { credential: 'client', form: { token: 'made-up' } },
  'POST /oauth/revoke': { credential: 'client', form: { token: 'made-up' } },
  'GET /.well-known/jwks.json': { credential: 'none' },
  'GET /.well-known/oauth-authorization-server': { credential: 'none' },

  'POST /register': {
    credential: 'none',
    classic: true,
    body: { username: 'someone-else', password: 'a long password' },
    door: WITH_PASSWORD,
  },
  'POST /auth': {
    credential: 'none',
    classic: true,
    body: { username: 'someone', password: 'a long password' },
    door: WITH_PASSWORD,
  },
  'POST /user/add-device': {
    credential: 'access token',
    classic: true,
    body: { device_name: 'a classic device' },
  },
  'ALL /device/check-in': {
    credential: 'body field',
    classic: true,
    body: { api_key: 'made-up' },
  },

  'GET /healthz': { credential: 'none', door: free(PROBE) },
  'GET /problems/:code': { credential: 'none', params: { code: 'problem code' } },
}

/** The paths that take every method. */
const FOR_ALL_METHODS: ReadonlySet<string> = new Set(['/device/check-in', '/v1/forward-auth'])

/** The application's routes as rows are named. Of those for all methods, middleware is none. */
export function routesOfApp(): string[] {
  const handled = app.routes.filter(
    ({ method, path }) => method !== 'ALL' || FOR_ALL_METHODS.has(path),
  )
  return [...new Set(handled.map(({ method, path }) => `${method} ${path}`))]
}

export type NamedRoute = RouteRow & {
  readonly name: string
  readonly method: string
  readonly pattern: string
}

/** The rows whose credential is that, or all rows. */
export function routesFor(credential?: RouteRow['credential']): NamedRoute[] {
  return Object.entries(ROUTES).flatMap(([name, row]) => {
    const [method = '', pattern = ''] = name.split(' ')
    const isWanted = credential === undefined || row.credential === credential
    return isWanted ? [{ ...row, name, method: method === 'ALL' ? 'POST' : method, pattern }] : []
  })
}

/** The path with its parameters filled in, and the query that it needs. */
export function pathOf(route: NamedRoute, valueOf: (kind: ParamKind, name: string) => string) {
  const path = Object.entries(route.params ?? {}).reduce(
    (path, [name, kind]) => path.replace(`:${name}`, encodeURIComponent(valueOf(kind, name))),
    route.pattern,
  )
  return route.query === undefined ? path : `${path}?${route.query}`
}

import type { IsolateState } from '../../isolate/state.ts'
import { loadSettings } from '../../settings.ts'
import { createMiddleware } from 'hono/factory'
import type { AppContext, RootEnv } from '../env.ts'
import { LockedIo } from '../locked-io.ts'
import { logRequest } from '../log.ts'
import { asProblemDocument } from '../problem.ts'

const SAFETY = { 'X-Content-Type-Options': 'nosniff' }
const HSTS = 'max-age=31536000'

const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/

/**
 * Gives every request its id (taken from X-Request-Id if that is harmless to echo), the isolate's
 * memory and the settings; gives every response the headers that all of them carry; writes the log
 * line.
 */
export function requestContext(isolate: IsolateState) {
  return createMiddleware<RootEnv>(async function requestContext(c, next) {
    const startedAt = Date.now()
    const presentedId = c.req.header('x-request-id')
    const ownId = crypto.randomUUID()
    const isTaken = presentedId !== undefined && REQUEST_ID.test(presentedId)
    const requestId = isTaken ? presentedId : ownId
    isolate.startedAt ??= startedAt
    c.set('isolate', isolate)
    c.set('io', new LockedIo(c.env))
    c.set('now', startedAt)
    c.set('requestId', requestId)
    // Anybody may present the id of somebody else's request: on record, ours stands beside it.
    c.set('recordedId', isTaken ? `${presentedId} ${ownId}` : ownId)
    c.set('log', {})
    c.set('renderError', asProblemDocument)
    // What is public and static says so itself.
    const headers = { ...SAFETY, 'X-Request-Id': requestId, 'Cache-Control': 'no-store' }
    c.set('headers', headers)
    carryHeaders(c, headers)
    const settings = loadSettings(c.env)
    c.set('settings', settings)
    if (settings.publicUrl.startsWith('https:')) c.var.headers['Strict-Transport-Security'] = HSTS
    await next()
    // A route may have answered with a Response of its own making, which knows nothing of them.
    for (const name of Object.keys(c.var.headers)) {
      if (c.res.headers.has(name)) delete c.var.headers[name]
    }
    carryHeaders(c, c.var.headers)
    logRequest(c, Date.now() - startedAt)
  })
}

function carryHeaders(c: AppContext, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) c.header(name, value)
}

import type { Context } from 'hono'
import { createFactory } from 'hono/factory'
import type { Once } from '../domain/once.ts'
import type { IsolateState } from '../isolate/state.ts'
import type { Settings } from '../settings.ts'
import type { Io, LockedIo } from './locked-io.ts'
import type { Problem } from './problem-types.ts'

/** What the request's log line will say beside its status: see http/log.ts. */
type RequestLog = {
  subject?: 'change' | 'denial' | 'made-up'
  userId?: string | undefined
  deviceId?: string | undefined
  keyId?: string | undefined
}

/**
 * The environment of every route, with the values that global middleware sets. The database and
 * the objects are not in it: `admit` hands them over (http/auth/admit.ts).
 */
export type AppEnv = {
  Bindings: Omit<Env, keyof Io>
  Variables: {
    io: LockedIo
    settings: Settings
    isolate: IsolateState
    requestId: string
    /** The id in the log and in the audit: the client's, if it presented one, and ours. */
    recordedId: string
    /** The one time of this request, in milliseconds: when its whole body had come. */
    now: number
    log: RequestLog
    /** What the response will carry, whatever makes it, unless it says otherwise itself. */
    headers: Record<string, string>
    /** Set by routes that take an Idempotency-Key, if one was sent. */
    once?: Once
    /** The format of this path's errors. */
    renderError: ErrorRenderer
  }
}

/** The environment of the global middleware and of the error handler, which see the database. */
export type RootEnv = AppEnv & { Bindings: Env }

/** What helpers ask of a context: any route's has it, whatever its middleware added. */
export type AppContext = Pick<
  Context<AppEnv>,
  'body' | 'env' | 'header' | 'html' | 'json' | 'req' | 'var'
>

/** Writes an error in the format that the clients of a path read. */
export type ErrorRenderer = (c: AppContext, problem: Problem) => Response

export const factory = createFactory<AppEnv>()

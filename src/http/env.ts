import type { Context } from 'hono'
import { createFactory } from 'hono/factory'
import type { Settings } from '../settings.ts'

/** What the request's log line will say beside its status: see http/log.ts. */
export type RequestLog = {
  subject?: 'change' | 'denial' | 'made-up'
  userId?: string | undefined
  deviceId?: string | undefined
  keyId?: string | undefined
}

/** The environment of every route: what global middleware has set before any handler runs. */
export type AppEnv = {
  Bindings: Env
  Variables: {
    settings: Settings
    requestId: string
    /** The one time of this request, in milliseconds. */
    now: number
    log: RequestLog
    /** What the response will carry, whatever makes it, unless it says otherwise itself. */
    headers: Record<string, string>
  }
}

/** What helpers ask of a context: any route's has it, whatever its middleware added. */
export type AppContext = Pick<Context<AppEnv>, 'env' | 'req' | 'var' | 'json' | 'header'>

export const factory = createFactory<AppEnv>()

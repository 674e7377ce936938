import type { Once } from '../domain/once.ts'
import type { IsolateState } from '../isolate/state.ts'
import type { Settings } from '../settings.ts'
import type { DeviceStates } from './device-object.ts'

/** Where a service looks, and when: every verify and every query is handed one. */
export type VerifyContext = {
  readonly database: D1Database
  readonly states: DeviceStates
  readonly settings: Settings
  readonly isolate: IsolateState
  /** The one time of the request, in milliseconds, taken once its whole body has come. */
  readonly now: number
}

/** Who changes something. */
export type Actor =
  /** Signed in: the change happens only while the session lives. */
  | { readonly type: 'user'; readonly userId: string; readonly sessionId: string }
  /** Somebody without a session, who signs in, refreshes or registers: who, if that is known. */
  | { readonly type: 'visitor'; readonly userId: string | null }
  | { readonly type: 'device'; readonly deviceId: string }
  | { readonly type: 'system'; readonly job: string }

/** The context of a change: also who makes it and from where, which its audit row says. */
export type AuditContext<By extends Actor = Actor> = VerifyContext & {
  readonly actor: By
  readonly ip: string | null
  readonly requestId: string | null
  /** Null or absent: the request cannot be asked for again. */
  readonly once?: Once | null
}

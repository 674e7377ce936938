import type { Denial } from './evaluate-key.ts'

/** How a verify of a genuine key ended. */
export type Outcome = 'allowed' | Exclude<Denial, 'not_found'>

/** Verifies of one secret that ended alike, counted together. */
export type UsageCount = {
  readonly keyId: string
  readonly secretHash: string
  readonly outcome: Outcome
  readonly count: number
  /** When the newest of them was, in milliseconds; all are of the hour that holds it. */
  readonly at: number
}

/** One key's verifies in one hour or day. */
export type UsageRow = {
  /** When the hour or day began, in milliseconds. */
  readonly start: number
  readonly keyId: string
  readonly outcome: string
  readonly count: number
}

/** When a secret was last used, to the minute, in milliseconds. */
export type LastUse = { readonly keyId: string; readonly secretHash: string; readonly at: number }

export type UsageInterval = 'hour' | 'day'

import type { Denial } from './evaluate-key.ts'

/** How a verify of a genuine key ended. */
export type Outcome = 'allowed' | Exclude<Denial, 'not_found'>

/** Verifies of one secret that ended alike, counted together. */
export type UsageCount = {
  readonly keyId: string
  readonly secretHash: string
  readonly outcome: Outcome
  readonly count: number
}

/** One key's verifies in one hour or day. */
export type UsageRow = {
  /** When the hour or day began, in milliseconds. */
  readonly start: number
  readonly keyId: string
  readonly outcome: string
  readonly count: number
}

export type UsageInterval = 'hour' | 'day'

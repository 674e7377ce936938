/** Lengths of time in milliseconds, and how the wire writes a time. */

export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

/** When the UTC hour of a time began. */
export function hourOf(time: number): number {
  return Math.floor(time / HOUR_MS) * HOUR_MS
}

/** A time as the wire shows it: RFC 3339, in UTC. */
export function rfc3339(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}

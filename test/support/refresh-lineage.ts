import { MINUTE_MS } from './refreshing.ts'

/** What a session's refresh tokens should be, told in plain code. Tokens have numbers: 0, 1, … */
export class Lineage {
  /** By token: which one it followed, and in which minute it was made. */
  readonly made: { readonly from: number; readonly minute: number }[] = [{ from: -1, minute: 0 }]
  current = 0
  previous = -1
  exchangedAt = 0
  ended = false

  /** @returns the token that a token yields; undefined: none, and the session has ended */
  present(token: number, now: number): number | undefined {
    if (this.ended) return undefined
    const isRecent = now - this.exchangedAt < MINUTE_MS
    if (token === this.current || (token === this.previous && !isRecent)) {
      this.previous = token
      this.exchangedAt = now
      this.current = this.made.push({ from: token, minute: minuteOf(now) }) - 1
      return this.current
    }
    if (token === this.previous) return this.current
    const before = this.made[this.previous]
    if (before?.from === token && isRecent && minuteOf(now) - before.minute <= 2) {
      return this.previous
    }
    this.ended = true
    return undefined
  }
}

function minuteOf(now: number): number {
  return Math.floor(now / MINUTE_MS)
}

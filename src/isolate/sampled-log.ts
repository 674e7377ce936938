type OutageEvent =
  | 'serving-stale-key'
  | 'serving-stale-feed'
  | 'rpc-unavailable'
  | 'forward-auth-misconfigured'

type Noted = { count: number; loggedSecond: number }

const noted = new Map<OutageEvent, Noted>()

/** Writes one line a second for an outage that every request notices, with how many noticed it. */
export function noteOutage(event: OutageEvent, now: number): void {
  const entry = noted.get(event) ?? { count: 0, loggedSecond: 0 }
  noted.set(event, entry)
  entry.count += 1
  const second = Math.floor(now / 1000)
  if (second === entry.loggedSecond) return
  console.error(JSON.stringify({ event, count: entry.count }))
  entry.count = 0
  entry.loggedSecond = second
}

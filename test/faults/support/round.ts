import { type Answer, send } from './http.ts'
import type { Client } from './ledger.ts'
import type { Step } from './step.ts'

/** The action of each audited change that was ever acknowledged, by the id of its request. */
export type Acknowledged = Map<string, string>

/** What happens between a start of the Worker and its end. */
export type Round = {
  readonly url: string
  readonly acknowledged: Acknowledged
  /** Steps whose answer was not heard, by the id of their request. */
  readonly inFlight: Map<string, Step>
  /** What was answered wrongly. */
  readonly faults: string[]
  sent: number
  answered: number
  /** Called at each change that was acknowledged. */
  onChange: () => void
  isKilled: boolean
}

export function newRound(url: string, acknowledged: Acknowledged): Round {
  const nothing = { sent: 0, answered: 0, onChange: () => {}, isKilled: false }
  return { url, acknowledged, inFlight: new Map(), faults: [], ...nothing }
}

/** Does a step, and notes in the ledger what its answer says. */
export async function perform(round: Round, client: Client, step: Step): Promise<void> {
  const requestId = `${client.name}-${client.operations}`
  client.operations += 1
  round.sent += 1
  round.inFlight.set(requestId, step)
  step.begin?.()
  const answer = await hear(round, step, requestId)
  if (answer === undefined) return
  round.inFlight.delete(requestId)
  round.answered += 1
  if (answer.outcome === step.expects) {
    noteFault(round, step, settle(step, answer))
    if (step.action === undefined) return
    round.acknowledged.set(requestId, step.action)
    round.onChange()
  } else {
    noteFault(round, step, `the answer is ${answer.outcome}, and not ${step.expects}`)
  }
}

/** The whole answer; undefined: there is none, which only a kill excuses. */
async function hear(round: Round, step: Step, requestId: string): Promise<Answer | undefined> {
  try {
    return await send(round.url, step.sent, requestId)
  } catch (thrown) {
    if (!round.isKilled) noteFault(round, step, String(thrown))
    return undefined
  }
}

function settle({ settle }: Step, answer: Answer): string | undefined {
  try {
    return settle(answer)
  } catch (thrown) {
    return String(thrown)
  }
}

function noteFault(round: Round, { name }: Step, fault: string | undefined): void {
  if (fault !== undefined) round.faults.push(`${name}: ${fault}`)
}

/**
 * Brings the ledger up to date after a kill: what was in flight has happened if its audit row is
 * there. And it looks for the audit row of each change that was ever acknowledged.
 * @param records the audited actions by the id of their request
 * @returns how many of those in flight have happened
 */
export function settleAfterKill(
  { inFlight, acknowledged, faults }: Round,
  records: ReadonlyMap<string, readonly string[]>,
): number {
  let happened = 0
  for (const [requestId, step] of inFlight) {
    const recorded = records.get(requestId) ?? []
    if (step.action === undefined || recorded.length === 0) continue
    if (recorded.join() !== step.action) faults.push(`${step.name}: recorded ${recorded.join()}`)
    happened += 1
    step.settle(undefined)
  }
  for (const [requestId, action] of acknowledged) {
    const recorded = records.get(requestId) ?? []
    if (recorded.join() !== action) {
      faults.push(`${action} was acknowledged (${requestId}), and recorded: ${recorded.join()}`)
    }
  }
  return happened
}

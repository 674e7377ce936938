import { newChargeId } from '../../crypto/ids.ts'
import type { Charge } from '../../device-state/device-state.ts'
import type { ChargeRequest } from '../../device-state/meter-store.ts'
import type { KeyPolicySnapshot } from '../../domain/evaluate-key.ts'
import type { MeterDecision, MeterReading } from '../../domain/meter.ts'
import { isPlatformFailure, Unavailable } from '../../domain/unavailable.ts'
import type { VerifyContext } from '../context.ts'
import type { DeviceStates } from '../device-object.ts'
import { TimedOut, withTimeout } from '../with-timeout.ts'

/** A refusal for good is asked about again after this: a changed limit has another name anyway. */
const REFUSED_FOR_GOOD_MS = 60_000

/** Waits before each retry of a charge. The first is short: a lost connection is back at once. */
const RETRY_PAUSES_MS = [10, 100]

type Charged =
  | { readonly kind: 'charged'; readonly decision: MeterDecision }
  /** Bound to be refused: the object was not asked, so it did not count the verify either. */
  | { readonly kind: 'refused-here'; readonly decision: MeterDecision }
  /** The object did not answer, and LIMITER_FAILURE lets requests through. */
  | { readonly kind: 'unmetered' }

/**
 * Charges a limited key in its device's object: one call, or none while it is known to be over. A
 * call whose answer is lost is made again, and charges once.
 * @throws Unavailable when the object does not answer in time and LIMITER_FAILURE is `closed`; a
 *   fault of ours as it is, for `open` is for outages only
 */
export async function chargeKey(
  { states, settings, now, isolate }: VerifyContext,
  input: {
    readonly policy: KeyPolicySnapshot
    readonly secretHash: string
    readonly cost: number
    /** Whether the object counts it in the usage, if the deployment wants that. */
    readonly counts: boolean
  },
): Promise<Charged> {
  const { policy, secretHash, cost } = input
  const { key, device } = policy
  const meter = `${key.id} ${JSON.stringify(key.limits)}`
  const known = isolate.refusedMeters.find(meter, cost, now)
  if (known !== undefined) return { kind: 'refused-here', decision: known }
  const counts = input.counts && settings.usage !== 'off'
  const id = newChargeId()
  const request = { id, keyId: key.id, secretHash, policy: key.limits, cost, counts }
  try {
    const charge = await chargeInTime(states, device.id, request, settings.meterTimeoutMs)
    const decision = onOurClock(charge, now)
    if (decision.refusedBy !== null) {
      const until = decision.retryAt ?? now + REFUSED_FOR_GOOD_MS
      isolate.refusedMeters.remember(meter, { cost, until, decision })
    }
    return { kind: 'charged', decision }
  } catch (cause) {
    if (!(cause instanceof TimedOut) && !isPlatformFailure(cause)) throw cause
    const failure = { event: 'meter-failure', device: device.id, mode: settings.limiterFailure }
    console.error(JSON.stringify(failure))
    if (settings.limiterFailure === 'open') return { kind: 'unmetered' }
    throw new Unavailable('the device state did not answer', { cause })
  }
}

/** A refusal in the isolate's time. The object has its own clock: its waits count from now. */
function onOurClock({ retryInMs, ...decision }: Charge, now: number): MeterDecision {
  const { retryAt, rateLimit, quota } = decision
  if (retryAt === null || retryInMs === null) return decision
  const ahead = retryAt - retryInMs - now
  return {
    ...decision,
    retryAt: now + retryInMs,
    rateLimit: rateLimit && shifted(rateLimit, ahead),
    quota: quota && shifted(quota, ahead),
  }
}

function shifted(reading: MeterReading, ahead: number): MeterReading {
  const { resetAt } = reading
  return { ...reading, resetAt: resetAt === null ? null : resetAt - ahead }
}

/** Charges, in as many of the tries as the time allows. */
async function chargeInTime(
  states: DeviceStates,
  deviceId: string,
  request: ChargeRequest,
  timeoutMs: number,
): Promise<Charge> {
  const patience = new AbortController()
  try {
    return await withTimeout(chargePatiently(states, deviceId, request, patience.signal), timeoutMs)
  } finally {
    patience.abort()
  }
}

/**
 * Charges, and asks again after an error of the platform. The id makes that safe, so it does not
 * matter whether the error is marked `retryable`: that of a restarted object is not. Each try takes
 * a new stub: after an exception a stub may be broken for good.
 * @see https://developers.cloudflare.com/durable-objects/best-practices/error-handling
 */
async function chargePatiently(
  states: DeviceStates,
  deviceId: string,
  request: ChargeRequest,
  signal: AbortSignal,
): Promise<Charge> {
  for (const pause of RETRY_PAUSES_MS) {
    try {
      return await states.getByName(deviceId).charge(deviceId, request)
    } catch (error) {
      if (isOverloaded(error) || !isPlatformFailure(error)) throw error
      // Throws after the timeout: no retry charges a request that was answered 503.
      await scheduler.wait(pause, { signal })
    }
  }
  return await states.getByName(deviceId).charge(deviceId, request)
}

/** Whether a retry would make it worse: Cloudflare says not to ask an overloaded object again. */
function isOverloaded(error: unknown): boolean {
  return error instanceof Error && 'overloaded' in error && error.overloaded === true
}

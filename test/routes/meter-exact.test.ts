import { describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { call, pick } from '../support/client.ts'
import { countStatuses } from '../support/expectations.ts'
import { makeUser } from '../support/fixtures.ts'
import { makeIsolate } from '../support/isolates.ts'
import {
  atOnce,
  chargeOf,
  makeLimitedDevice,
  setUpVerifier,
  stateOf,
  tally,
} from '../support/limits.ts'

const HUNDRED = { limit: 100, windowSeconds: 3600 } as const
const RATE = { limit: 100, window_seconds: 3600 } as const

/** A device of which only the object is used. */
const fresh = () => ({ id: newId('dev') })

/** How the limits of a key stand, asked without spending. */
async function standing(device: { id: string }, policy: Parameters<typeof chargeOf>[0]) {
  return await stateOf(device).charge(device.id, chargeOf(policy, { cost: 0 }))
}

describe('500 simultaneous requests at a limit of 100', () => {
  it('are 100 that pass: at the object', async () => {
    const device = fresh()
    const policy = { rateLimit: HUNDRED }
    const charges = await atOnce(500, () => stateOf(device).charge(device.id, chargeOf(policy)))
    expect(tally(charges.map(({ refusedBy }) => refusedBy ?? 'passed'))).toEqual({
      passed: 100,
      rate_limited: 400,
    })
    expect(await standing(device, policy)).toMatchObject({ rateLimit: { remaining: 0 } })
  })

  it('are 40 that pass with a quota of 40 beside it, and the limit shows 40 spent', async () => {
    const device = fresh()
    const policy = { rateLimit: HUNDRED, quota: { limit: 40, period: 'total' } } as const
    const charges = await atOnce(500, () => stateOf(device).charge(device.id, chargeOf(policy)))
    expect(tally(charges.map(({ refusedBy }) => refusedBy ?? 'passed'))).toEqual({
      passed: 40,
      quota_exceeded: 460,
    })
    expect(await standing(device, policy)).toMatchObject({
      rateLimit: { limit: 100, remaining: 60 },
      quota: { limit: 40, remaining: 0 },
    })
  })

  it('are 100 that pass: at the door', async () => {
    const device = await makeLimitedDevice(await makeUser(), { rate_limit: RATE })
    const answers = await atOnce(500, () => call('GET', '/v1/device', { token: device.secret }))
    expect(countStatuses(answers)).toEqual({ 200: 100, 429: 400 })
  })

  it('are 40 that pass with a quota of 40 beside it: at the door', async () => {
    const quota = { limit: 40, period: 'month' } as const
    const device = await makeLimitedDevice(await makeUser(), { rate_limit: RATE, quota })
    const answers = await atOnce(500, () => call('GET', '/v1/device', { token: device.secret }))
    expect(countStatuses(answers)).toEqual({ 200: 40, 429: 460 })
    const codes = new Set(
      answers.filter(({ status }) => status === 429).map(({ body }) => pick(body, 'code')),
    )
    expect([...codes]).toEqual(['quota_exceeded'])
    const policy = { rateLimit: HUNDRED, quota } as const
    const request = chargeOf(policy, { cost: 0, keyId: device.keyId })
    expect(await stateOf(device).charge(device.id, request)).toMatchObject({
      rateLimit: { remaining: 60 },
      quota: { remaining: 0 },
    })
  })

  it('are 100 that pass when three isolates share them', async () => {
    const device = await makeLimitedDevice(await makeUser(), { rate_limit: RATE })
    const isolates = Array.from({ length: 3 }, () => makeIsolate(Date.now()))
    const codes = await Promise.all(
      isolates.flatMap((isolate) =>
        Array.from({ length: 167 }, () => isolate.codeOf(device.secret)),
      ),
    )
    expect(tally(codes)).toEqual({ valid: 100, rate_limited: 401 })
  })

  it('are 33 that pass at a cost of 3', async () => {
    const { verify } = await setUpVerifier({ rate_limit: RATE })
    const answers = await atOnce(200, () => verify({ cost: 3 }))
    expect(tally(answers.map(({ body }) => pick(body, 'code')))).toEqual({
      valid: 33,
      rate_limited: 167,
    })
    expect((await verify({ cost: 1 })).body).toMatchObject({
      valid: true,
      rate_limit: { remaining: 0 },
    })
  })
})

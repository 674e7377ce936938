import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { KeyVerifier } from '../../src/index.ts'
import { runScheduled } from '../../src/scheduled.ts'
import { call } from '../support/client.ts'
import { captureConsole, eventsOf } from '../support/console.ts'

const MARKER = 'Zq7MARKER'
const broken: Env = { ...env, KEY_PREFIX: MARKER, D1_TIMEOUT_MS: '10s' }
const FAULTS = [
  'KEY_PREFIX: must match [a-z][a-z0-9]{1,11}',
  'D1_TIMEOUT_MS: must be a whole number from 100 to 30000 (write the number without a unit)',
]

afterEach(() => {
  vi.restoreAllMocks()
})

describe('a deployment whose settings are malformed', () => {
  it('names every fault in its answer, and in one log line that blames no database', async () => {
    const lines = captureConsole()
    const answer = await call('GET', '/v1/device', { env: broken })
    expect(answer).toMatchObject({
      status: 500,
      body: { code: 'misconfigured', detail: FAULTS.join('; ') },
    })
    const [failure, ...others] = eventsOf(lines, 'failure')
    expect(others).toEqual([])
    expect(failure).toMatchObject({ settings: FAULTS })
    expect(failure).not.toHaveProperty('database')
    expect(JSON.stringify(lines) + answer.text).not.toContain(MARKER)
  })

  it('answers unavailable over RPC, and logs why', async () => {
    const lines = captureConsole()
    const verifier = new KeyVerifier(createExecutionContext(), broken)
    expect(await verifier.verify('lk_x', { owner: 'any' })).toMatchObject({
      valid: false,
      code: 'unavailable',
    })
    expect(eventsOf(lines, 'failure')).toMatchObject([{ id: 'rpc', settings: FAULTS }])
  })

  it('fails its cron, and logs why', async () => {
    const lines = captureConsole()
    await expect(runScheduled(broken)).rejects.toThrow('KEY_PREFIX')
    expect(eventsOf(lines, 'failure')).toMatchObject([{ id: 'cron', settings: FAULTS }])
  })
})

import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { IsolateState } from '../../src/isolate/state.ts'
import { answerClaim, askForCodes, type Asker, poll, postForm } from '../support/claims.ts'
import type { CallOptions } from '../support/client.ts'
import { captureConsole } from '../support/console.ts'
import { countStatements } from '../support/counting.ts'
import { withFailingDatabase } from '../support/environments.ts'
import { makeUser } from '../support/fixtures.ts'
import { atOnce, tally } from '../support/limits.ts'
import { useFirst } from '../support/rotations.ts'

const refused = (reason: string) => ({ ok: false, reason })

/** Polls as a device does: `ok`, or why not. */
async function pollByHttp(asker: Asker, options: CallOptions = {}): Promise<string> {
  const { deviceCode: device_code, clientId: client_id } = asker
  const grant_type = 'urn:ietf:params:oauth:grant-type:device_code'
  const { body } = await postForm('/oauth/token', { grant_type, device_code, client_id }, options)
  const reason = Object.entries(body ?? {}).find(([name]) => name === 'error')
  return reason === undefined ? 'ok' : String(reason[1])
}

/** A database that counts, and the environment with it. */
function counted() {
  const { statements, database } = countStatements(env.DB)
  return { statements, database, options: { env: { ...env, DB: database } } }
}

const isWrite = (statement: string) => !statement.startsWith('select')

function later(milliseconds: number): void {
  vi.setSystemTime(Date.now() + milliseconds)
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
})

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

describe('a device that does not wait between its polls', () => {
  it('costs one statement with 400 polls at once', async () => {
    const asker = await askForCodes()
    const { statements, options } = counted()
    const answers = await atOnce(400, async () => await pollByHttp(asker, options))
    expect(tally(answers)).toEqual({ authorization_pending: 1, slow_down: 399 })
    expect(statements).toHaveLength(1)
  })

  it('costs one statement once its code has expired, however long it goes on', async () => {
    const asker = await askForCodes()
    const { statements, options } = counted()
    later(601_000)
    for (let count = 0; count < 50; count += 1) {
      expect(await pollByHttp(asker, options)).toBe('expired_token')
      later(61_000)
    }
    expect(statements).toHaveLength(1)
  })

  it('costs three statements with 400 polls in a row that take 20 seconds', async () => {
    const asker = await askForCodes()
    const { statements, options } = counted()
    for (let count = 0; count < 400; count += 1) {
      await pollByHttp(asker, options)
      later(50)
    }
    expect(statements.length).toBeLessThanOrEqual(3)
  })

  it('gets its secret within a minute of the approval all the same', async () => {
    const asker = await askForCodes()
    for (let count = 0; count < 50; count += 1) await poll(asker)
    await answerClaim(await makeUser(), asker)
    let seconds = 0
    while (!(await poll(asker)).ok && seconds < 600) {
      seconds += 1
      later(1000)
    }
    expect(seconds).toBeLessThanOrEqual(60)
  })

  it('is told so by another isolate as well, once a poll has read D1', async () => {
    const asker = await askForCodes()
    await poll(asker)
    for (let count = 0; count < 3; count += 1)
      expect(await poll(asker)).toMatchObject({ ok: false })
    // The interval is 20 seconds now, here.
    later(20_000)
    expect(await poll(asker)).toEqual(refused('authorization_pending'))
    later(19_999)
    const { statements, database } = counted()
    const elsewhere = { isolate: new IsolateState(), database }
    expect(await poll(asker, Date.now(), elsewhere)).toEqual(refused('slow_down'))
    expect(statements.filter(isWrite)).toHaveLength(1)
  })
})

describe('a device that polls every five seconds', () => {
  it('is never told to slow down, and writes nothing', async () => {
    const asker = await askForCodes()
    const { statements, options } = counted()
    for (let count = 0; count < 119; count += 1) {
      expect(await pollByHttp(asker, options)).toBe('authorization_pending')
      later(5000)
    }
    expect(statements).toHaveLength(119)
    expect(statements.filter(isWrite)).toEqual([])
  })

  it('gets its secret with the first poll in time after the approval', async () => {
    const asker = await askForCodes()
    expect(await poll(asker)).toEqual(refused('authorization_pending'))
    await answerClaim(await makeUser(), asker)
    later(4999)
    expect(await poll(asker)).toEqual(refused('slow_down'))
    later(10_000)
    expect((await poll(asker)).ok).toBe(true)
  })
})

describe('a poll that is refused', () => {
  it('for good is refused the same way again, without a statement', async () => {
    const user = await makeUser()
    const denied = await askForCodes()
    await answerClaim(user, denied, { decision: 'deny' })
    const used = await askForCodes()
    await answerClaim(user, used)
    const redeemed = await poll(used)
    if (!redeemed.ok) throw new Error(redeemed.reason)
    await useFirst(redeemed.value.secret)
    for (const [asker, reason] of [
      [denied, 'access_denied'],
      [used, 'invalid_grant'],
    ] as const) {
      expect(await pollByHttp(asker)).toBe(reason)
      const { statements, options } = counted()
      const answers = await atOnce(20, async () => await pollByHttp(asker, options))
      expect(tally(answers)).toEqual({ [reason]: 20 })
      expect(statements).toEqual([])
    }
  })

  it('because of its client_id costs one statement, and its own client does not wait', async () => {
    const asker = await askForCodes()
    const { statements, options } = counted()
    for (let count = 0; count < 20; count += 1) {
      const stranger = { ...asker, clientId: `another-${count}` }
      expect(await pollByHttp(stranger, options)).toBe('invalid_grant')
    }
    expect(statements).toHaveLength(1)
    expect(await pollByHttp(asker)).toBe('authorization_pending')
  })

  it('because D1 failed may be repeated at once', async () => {
    captureConsole()
    const asker = await askForCodes()
    const failing = { env: withFailingDatabase() }
    expect(await pollByHttp(asker, failing)).toBe('temporarily_unavailable')
    expect(await pollByHttp(asker)).toBe('authorization_pending')
  })
})

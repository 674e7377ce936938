import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { process } from '../../scripts/tools.ts'
import { register, signIn, useSession } from './support/account.ts'
import { nextOfClaim } from './support/claim-steps.ts'
import { look, present } from './support/device-steps.ts'
import { readKeptRows } from './support/kept-rows.ts'
import {
  type Deployment,
  makeDeployment,
  removeDeployment,
  type RunningWorker,
  startWorker,
} from './support/killable-worker.ts'
import { type Client, type Device, newClient, restDevices } from './support/ledger.ts'
import { runClient } from './support/load.ts'
import { type Random, seededRandom } from './support/random.ts'
import {
  type Acknowledged,
  newRound,
  perform,
  type Round,
  settleAfterKill,
} from './support/round.ts'

const CLIENTS = 8
const OPERATIONS = 200
/** How much of the mix are changes that are acknowledged. */
const CHANGES_SHARE = 0.6
const WORKS_WITH = 6
/** After an operation was sent, the kill comes within as long as a change takes. */
const MOMENT_MS = 8
const SEED_MAX = 2 ** 31

/** How often to kill (KILLS), or the seeds of a run that is to be repeated (KILL_SEEDS). */
const { KILLS = '3', KILL_SEEDS = '' } = process.env
const seeds =
  KILL_SEEDS === ''
    ? Array.from({ length: Number(KILLS) }, () => Math.floor(Math.random() * SEED_MAX))
    : KILL_SEEDS.split(',').map(Number)
if (seeds.length === 0 || !seeds.every(Number.isInteger)) throw new Error('KILLS or KILL_SEEDS')

/**
 * All kills hit the same storage: damage adds up, a dead secret must be dead for good, and the load
 * goes on with what an earlier kill cut off. After each kill the whole database is searched, and
 * the devices that the load works with are looked at; after the last one all devices are.
 */
const clients = Array.from({ length: CLIENTS }, (_, index) => newClient(`client-${index}`))
const acknowledged: Acknowledged = new Map()
/** The one user. */
const owner = newClient('the-owner')

let deployment: Deployment
let worker: RunningWorker

beforeAll(async () => {
  say(`kills: repeat them with KILL_SEEDS=${seeds.join()}`)
  deployment = makeDeployment()
  worker = await startWorker(deployment, 'first')
  const round = newRound(worker.url, acknowledged)
  await register(round, owner)
  await signIn(round, owner)
  expect(round.faults).toEqual([])
})

afterAll(() => {
  removeDeployment(deployment)
})

describe('a Worker that is killed under load', () => {
  it.each(seeds)(
    'keeps every change that it acknowledged, and takes no secret that it has ended (seed %i)',
    async (seed) => {
      const start = Date.now()
      const round = newRound(worker.url, acknowledged)
      await killUnderLoad(round, seed)
      const { records, damage } = readKeptRows(deployment)
      const happened = settleAfterKill(round, records)
      worker = await startWorker(deployment, 'again')
      const check = newRound(worker.url, acknowledged)
      await signInAgain(check)
      await Promise.all(clients.map(async (client) => await goOn(check, client)))

      const seconds = ((Date.now() - start) / 1000).toFixed(1)
      say(
        `seed ${seed}: ${round.answered} operations acknowledged, ${round.inFlight.size} in flight ` +
          `(${happened} of them on record), ${check.answered} looked at, ${seconds} s`,
      )
      expect([...round.faults, ...damage, ...check.faults]).toEqual([])
    },
  )

  it('keeps the changes of all rounds, and takes no secret that it ever ended', async () => {
    const check = newRound(worker.url, acknowledged)
    await Promise.all(
      clients.map(async (client) => {
        await lookAt(check, client, [...client.rested, ...client.devices])
      }),
    )
    say(`after the last kill: ${acknowledged.size} changes, ${check.answered} looked at`)
    expect(check.faults).toEqual([])
  })
})

async function killUnderLoad(round: Round, seed: number): Promise<void> {
  const load = Promise.all(
    clients.map(async (client, index) => {
      client.random = seededRandom(seed + index)
      client.token = owner.token
      await runClient(round, client, OPERATIONS)
    }),
  )
  await Promise.race([momentIn(round, seededRandom(seed)), load])
  round.isKilled = true
  await worker.kill()
  await load
}

/**
 * Half of the moments are anywhere in the load. The others are right after a client has heard that
 * its change happened: a write that the answer did not wait for is then still to come.
 */
async function momentIn(round: Round, { below }: Random): Promise<void> {
  const drawn = below(OPERATIONS)
  if (below(2) === 0) {
    while (round.sent <= drawn) await sleep(1)
    await sleep(below(MOMENT_MS))
  } else {
    let changes = Math.ceil(drawn * CHANGES_SHARE)
    await new Promise<void>((resolve) => {
      round.onChange = () => (changes -= 1) > 0 || resolve()
    })
  }
}

async function signInAgain(round: Round): Promise<void> {
  await useSession(round, owner)
  await signIn(round, owner)
}

/** Finishes a client's claims, and looks at all that it works with. */
async function goOn(round: Round, client: Client): Promise<void> {
  client.token = owner.token
  await finishClaims(round, client)
  await lookAt(round, client, client.devices)
  restDevices(client, WORKS_WITH)
}

/** What waits for an approval or for a poll gets it. */
async function finishClaims(round: Round, client: Client): Promise<void> {
  for (let [claim] = client.claims; claim !== undefined; [claim] = client.claims) {
    const faults = round.faults.length
    await perform(round, client, nextOfClaim(client, claim))
    if (round.faults.length > faults) return
  }
}

async function lookAt(round: Round, client: Client, devices: readonly Device[]): Promise<void> {
  for (const device of devices) {
    await perform(round, client, look(client, device))
    for (const key of device.keys) {
      for (const secret of key.secrets) await perform(round, client, present(device, key, secret))
    }
  }
}

/** Past Vitest, which keeps to itself what a test that passes says. */
function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

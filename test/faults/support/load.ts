import { askForCodes, nextOfClaim } from './claim-steps.ts'
import {
  checkIn,
  createDevice,
  createKey,
  deleteDevice,
  look,
  present,
  revoke,
  rotate,
  switchDevice,
} from './device-steps.ts'
import { type Client, type Device, liveDevices, liveKeys, liveSecrets } from './ledger.ts'
import type { Round } from './round.ts'
import { perform } from './round.ts'
import type { Step } from './step.ts'

type Proposal = (client: Client) => Step | undefined

/** What a client may do next, and how often: of a hundred. */
const MIX: readonly (readonly [percent: number, propose: Proposal])[] = [
  [14, createDevice],
  [8, onDevice(createKey)],
  [8, onDevice((client, device) => rotateOne(client, device, false))],
  [8, onDevice((client, device) => rotateOne(client, device, true))],
  [6, onDevice(revokeOne)],
  [4, onDevice(deleteDevice)],
  [9, onDevice(switchDevice)],
  [15, onDevice(presentLive)],
  [5, presentDead],
  [9, onDevice(checkInOne)],
  [3, onDevice(look)],
  [4, askForCodes],
  [7, claimOn],
]

/** A client's operations, one after another, until the round has had enough or is killed. */
export async function runClient(round: Round, client: Client, most: number): Promise<void> {
  while (round.sent < most && !round.isKilled) await perform(round, client, nextStep(client))
}

function nextStep(client: Client): Step {
  let drawn = client.random.below(100)
  for (const [percent, propose] of MIX) {
    if (drawn < percent) return propose(client) ?? createDevice(client)
    drawn -= percent
  }
  return createDevice(client)
}

function onDevice(propose: (client: Client, device: Device) => Step | undefined): Proposal {
  return (client) => {
    const device = client.random.pick(liveDevices(client))
    return device && propose(client, device)
  }
}

/** A rotation with an overlap is refused while one runs. */
function rotateOne(client: Client, device: Device, hasOverlap: boolean): Step | undefined {
  const keys = liveKeys(device).filter(
    (key) => !hasOverlap || (liveSecrets(key).length < 2 && !key.hasUnknownSecret),
  )
  const key = client.random.pick(keys)
  return key && rotate(client, device, key, hasOverlap)
}

function revokeOne(client: Client, device: Device): Step | undefined {
  const key = client.random.pick(liveKeys(device))
  return key && revoke(client, device, key)
}

function presentLive({ random }: Client, device: Device): Step | undefined {
  const key = random.pick(liveKeys(device))
  const secret = key && random.pick(liveSecrets(key))
  return secret && present(device, key, secret)
}

/** Also of what was deleted. */
function presentDead({ random, devices }: Client): Step | undefined {
  const device = random.pick(devices)
  const key = device && random.pick(device.keys)
  const secret = key && random.pick(key.secrets.filter(({ isDead }) => isDead))
  return secret && present(device, key, secret)
}

/** With a key without a quota: a check-in would charge it. */
function checkInOne({ random }: Client, device: Device): Step | undefined {
  if (!device.isEnabled) return undefined
  const keys = liveKeys(device).filter(({ quota }) => quota === null)
  const secret = random.pick(keys.flatMap(liveSecrets))
  return secret && checkIn(device, secret)
}

function claimOn(client: Client): Step | undefined {
  const claim = client.random.pick(client.claims)
  return claim && nextOfClaim(client, claim)
}

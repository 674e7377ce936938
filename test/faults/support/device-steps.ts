import * as z from 'zod'
import { createdDevice, issuedKey } from '../../conformance/support/http-client.ts'
import {
  type Client,
  type Device,
  endSecrets,
  type Key,
  makeDevice,
  makeKey,
  type Range,
  type Secret,
} from './ledger.ts'
import type { Step } from './step.ts'

const QUOTA = 10_000
const OVERLAP_SECONDS = 3600

const seenDevice = z.object({
  enabled: z.boolean(),
  last_report: z.object({ number: z.number() }).nullable(),
})

/** Half of the keys have a quota. */
export function drawQuota({ random }: Client): number | null {
  return random.below(2) === 0 ? QUOTA : null
}

export function policyOf(quota: number | null): Record<string, unknown> {
  return quota === null ? {} : { quota: { limit: quota, period: 'total' } }
}

export function createDevice(client: Client): Step {
  const quota = drawQuota(client)
  const name = `${client.name}-${client.operations}`
  return {
    name: 'create a device',
    sent: { route: 'POST /v1/devices', token: client.token, body: { name, key: policyOf(quota) } },
    expects: '201',
    action: 'device.created',
    settle: (answer) => {
      if (answer === undefined) return
      const { device, key, api_key: secret } = createdDevice.parse(answer.body)
      client.devices.push(makeDevice(device.id, makeKey(key.id, secret, quota)))
    },
  }
}

export function createKey(client: Client, device: Device): Step {
  const quota = drawQuota(client)
  const route = `POST /v1/devices/${device.id}/keys`
  return {
    name: 'create a key',
    sent: { route, token: client.token, body: policyOf(quota) },
    expects: '201',
    action: 'key.created',
    settle: (answer) => {
      if (answer === undefined) return
      const { key, api_key: secret } = issuedKey.parse(answer.body)
      device.keys.push(makeKey(key.id, secret, quota))
    },
  }
}

export function rotate(client: Client, device: Device, key: Key, hasOverlap: boolean): Step {
  const route = `POST /v1/devices/${device.id}/keys/${key.id}/rotate`
  const body = { overlap_seconds: hasOverlap ? OVERLAP_SECONDS : 0 }
  return {
    name: hasOverlap ? 'rotate with an overlap' : 'rotate',
    sent: { route, token: client.token, body },
    expects: '200',
    action: 'key.rotated',
    settle: (answer) => {
      if (!hasOverlap) endSecrets([key])
      key.hasUnknownSecret = answer === undefined
      if (answer === undefined) return
      key.secrets.push({ text: issuedKey.parse(answer.body).api_key, isDead: false })
    },
  }
}

export function revoke(client: Client, device: Device, key: Key): Step {
  return {
    name: 'revoke a key',
    sent: { route: `DELETE /v1/devices/${device.id}/keys/${key.id}`, token: client.token },
    expects: '204',
    action: 'key.revoked',
    settle: () => {
      key.isRevoked = true
      endSecrets([key])
    },
  }
}

export function deleteDevice(client: Client, device: Device): Step {
  return {
    name: 'delete a device',
    sent: { route: `DELETE /v1/devices/${device.id}`, token: client.token },
    expects: '204',
    action: 'device.deleted',
    settle: () => {
      device.isDeleted = true
      endSecrets(device.keys)
    },
  }
}

export function switchDevice(client: Client, device: Device): Step {
  const enabled = !device.isEnabled
  const route = `PATCH /v1/devices/${device.id}`
  return {
    name: enabled ? 'enable a device' : 'disable a device',
    sent: { route, token: client.token, body: { enabled } },
    expects: '200',
    action: 'device.updated',
    settle: () => {
      device.isEnabled = enabled
    },
  }
}

export function checkIn(device: Device, { text }: Secret): Step {
  const { reports } = device
  const number = reports.sent + 1
  return {
    name: 'check in',
    sent: { route: 'POST /v1/device/check-ins', token: text, body: { report: { number } } },
    expects: '201',
    begin: () => {
      reports.sent = number
    },
    settle: () => {
      reports.acknowledged = number
    },
  }
}

/** Looks at a device as its owner does: whether it is on, and its last report. */
export function look(client: Client, device: Device): Step {
  const { id, isDeleted, isEnabled, reports } = device
  return {
    name: `look at ${id}`,
    sent: { route: `GET /v1/devices/${id}`, token: client.token },
    expects: isDeleted ? 'not_found' : '200',
    settle: (answer) => {
      if (answer === undefined || isDeleted) return
      const { enabled, last_report: report } = seenDevice.parse(answer.body)
      if (enabled !== isEnabled) return `enabled is ${enabled}`
      return narrow(reports, report?.number ?? 0, 'the newest report')
    },
  }
}

/** Presents a secret. If its key has a quota, this charges it. */
export function present(device: Device, key: Key, secret: Secret): Step {
  const { charges, quota } = key
  const expects = secret.isDead ? 'revoked' : device.isEnabled ? '200' : 'disabled'
  const isCharged = quota !== null && expects === '200'
  return {
    name: `present a secret of ${device.id} ${key.id}`,
    sent: { route: 'GET /v1/device', token: secret.text },
    expects,
    begin: () => {
      if (isCharged) charges.sent += 1
    },
    settle: (answer) => {
      if (answer === undefined || !isCharged) return
      charges.acknowledged += 1
      const remaining = /"quota";r=(\d+)/.exec(answer.headers.get('RateLimit') ?? '')?.[1]
      return narrow(charges, quota - Number(remaining), 'what is spent')
    },
  }
}

/** Only who asks knows what happened of what was in flight; from then on that stands. */
function narrow(range: Range, found: number, what: string): string | undefined {
  const { acknowledged, sent } = range
  Object.assign(range, { acknowledged: found, sent: found })
  if (found >= acknowledged && found <= sent) return
  return `${what} is ${found}, and not ${acknowledged} to ${sent}`
}

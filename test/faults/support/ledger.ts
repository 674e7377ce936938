import { type Random, seededRandom } from './random.ts'

/**
 * What one client was told, and what it asked for without hearing the answer. A client does one
 * thing after another and shares nothing with the others, so that at a kill at most one of its
 * operations is in flight.
 */
export type Client = {
  readonly name: string
  random: Random
  /** Those that it works with. */
  readonly devices: Device[]
  /** Those that it leaves alone from now on. */
  readonly rested: Device[]
  /** Claims that are not yet spent. */
  readonly claims: Claim[]
  /** Of its user. */
  token: string
  operations: number
}

export type Device = {
  readonly id: string
  readonly keys: Key[]
  isEnabled: boolean
  isDeleted: boolean
  /** Its reports are numbered. */
  readonly reports: Range
}

export type Key = {
  readonly id: string
  readonly secrets: Secret[]
  /** Its quota for good; null: it has no limit. */
  readonly quota: number | null
  readonly charges: Range
  isRevoked: boolean
  /** Whether a rotation happened whose answer was lost: it has a secret that nobody knows. */
  hasUnknownSecret: boolean
}

export type Secret = { readonly text: string; isDead: boolean }

/** What is at least there, and what may be: they differ while an operation is in flight. */
export type Range = { acknowledged: number; sent: number }

export type Claim = {
  readonly userCode: string
  readonly deviceCode: string
  /** Of the key that it will be spent on. */
  readonly quota: number | null
  isApproved: boolean
}

export function newClient(name: string): Client {
  const nothing = { devices: [], rested: [], claims: [], token: '', operations: 0 }
  return { name, random: seededRandom(0), ...nothing }
}

/** Leaves all but the newest devices alone. */
export function restDevices({ devices, rested }: Client, worksWith: number): void {
  rested.push(...devices.splice(0, Math.max(0, devices.length - worksWith)))
}

export function makeDevice(id: string, key: Key): Device {
  const reports = { acknowledged: 0, sent: 0 }
  return { id, keys: [key], isEnabled: true, isDeleted: false, reports }
}

export function makeKey(id: string, secret: string, quota: number | null): Key {
  return {
    id,
    secrets: [{ text: secret, isDead: false }],
    quota,
    charges: { acknowledged: 0, sent: 0 },
    isRevoked: false,
    hasUnknownSecret: false,
  }
}

export function liveDevices({ devices }: Client): Device[] {
  return devices.filter(({ isDeleted }) => !isDeleted)
}

export function liveKeys(device: Device): Key[] {
  return device.keys.filter(({ isRevoked }) => !isRevoked)
}

export function liveSecrets(key: Key): Secret[] {
  return key.secrets.filter(({ isDead }) => !isDead)
}

export function endSecrets(keys: readonly Key[]): void {
  for (const secret of keys.flatMap(({ secrets }) => secrets)) secret.isDead = true
}

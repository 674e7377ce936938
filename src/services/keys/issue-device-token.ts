import { signToken } from '../../crypto/jwt.ts'
import { type DeviceTokenClaims, encodeClaims } from '../../domain/device-token.ts'
import type { KeyPolicySnapshot, KeySnapshot } from '../../domain/evaluate-key.ts'
import { isLimited } from '../../domain/meter.ts'
import { SECOND_MS } from '../../domain/time.ts'
import type { VerifyContext } from '../context.ts'

/** A token to call with, and for how long (seconds). */
type IssuedToken = {
  readonly token: string
  readonly expiresIn: number
  readonly scopes: readonly string[]
}

/** Signs a device token for a secret that D1 has just called good; it never outlives either. */
export async function issueDeviceToken(
  { settings, now }: Pick<VerifyContext, 'settings' | 'now'>,
  input: {
    readonly snapshot: KeySnapshot
    readonly policy: KeyPolicySnapshot
    readonly secretHash: string
    readonly scopes: readonly string[]
    readonly audiences: readonly string[]
  },
): Promise<IssuedToken> {
  const { snapshot, policy, secretHash, scopes, audiences } = input
  const { key, device, owner } = policy
  const issuedAt = Math.floor(now / SECOND_MS)
  const ends = [snapshot.secret.expiresAt, key.expiresAt].filter((end) => end !== null)
  const expiresAt = Math.min(
    issuedAt + settings.deviceTokenSeconds,
    ...ends.map((end) => Math.floor(end / SECOND_MS)),
  )
  const claims: DeviceTokenClaims = {
    tokenId: crypto.randomUUID(),
    secretHash,
    scopes,
    audiences,
    deviceId: device.id,
    deviceName: device.name,
    keyId: key.id,
    keyName: key.name,
    ownerId: owner.id,
    ownerRole: owner.role,
    feedPosition: snapshot.feedPosition,
    isMetered: isLimited(key.limits),
    issuedAt,
    expiresAt,
  }
  const payload = { iss: settings.publicUrl, ...encodeClaims(claims) }
  const token = await signToken(payload, settings.signingKeys, 'at+jwt')
  return { token, expiresIn: expiresAt - issuedAt, scopes }
}

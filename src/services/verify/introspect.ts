import { verifyKey, type VerifyRequest, type VerifyWorld } from './verify-key.ts'

/** What RFC 7662 §2.2 says of a good credential; of any other: that it is not active, and no more. */
export type Introspection =
  | { readonly active: false }
  | {
      readonly active: true
      readonly token_type: 'Bearer'
      readonly scope: string
      readonly client_id: string
      readonly sub: string
      readonly iss: string
      readonly aud?: string
      /** Seconds. */
      readonly iat?: number
      readonly exp?: number
    }

/**
 * Tells whether a secret or device token is good now, as every door decides it, and charges nothing.
 * @returns `throttled` when the caller has presented so many unknown secrets that nobody looked
 * @throws Unavailable as verifyKey does
 */
export async function introspect(
  world: VerifyWorld,
  request: Pick<VerifyRequest, 'presented' | 'ownerId' | 'caller'>,
): Promise<Introspection | 'throttled'> {
  const verified = await verifyKey(world, { ...request, cost: 0 })
  if (!verified.valid) {
    const isThrottled = verified.denial === 'rate_limited' && verified.ownerId === null
    return isThrottled ? 'throttled' : { active: false }
  }
  const { policy, credential } = verified
  const common = {
    active: true,
    token_type: 'Bearer',
    scope: policy.key.scopes.join(' '),
    client_id: policy.device.id,
    sub: policy.device.id,
    iss: world.settings.publicUrl,
  } as const
  if (credential.kind === 'token') {
    const { audience, issuedAt, expiresAt } = credential.claims
    return { ...common, aud: audience, iat: issuedAt, exp: expiresAt }
  }
  const ends = [credential.snapshot.secret.expiresAt, policy.key.expiresAt].filter(
    (end) => end !== null,
  )
  return ends.length === 0 ? common : { ...common, exp: Math.floor(Math.min(...ends) / 1000) }
}

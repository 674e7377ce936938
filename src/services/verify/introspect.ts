import { encodeAudiences } from '../../domain/device-token.ts'
import { SECOND_MS } from '../../domain/time.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import type { VerifyContext } from '../context.ts'
import { verifyKey, type VerifyRequest } from './verify-key.ts'

/** RFC 7662 §2.2: all about a good credential; of any other only that it is not active. */
type Introspection =
  | { readonly active: false }
  | {
      readonly active: true
      readonly token_type: 'Bearer'
      readonly scope: string
      readonly client_id: string
      readonly sub: string
      readonly iss: string
      readonly aud?: string | readonly string[]
      /** Seconds. */
      readonly iat?: number
      readonly exp?: number
    }

/**
 * Tells whether a secret or device token is good now, as every door decides it. It charges nothing.
 * `throttled`: the caller has presented so many unknown secrets that nobody looked.
 * @throws Unavailable as verifyKey does
 */
export async function introspect(
  ctx: VerifyContext,
  request: Pick<VerifyRequest, 'presented' | 'owner' | 'audience' | 'caller'>,
): Promise<Result<Introspection, 'throttled'>> {
  const verified = await verifyKey(ctx, { ...request, cost: 0 })
  if (!verified.valid) {
    return verified.kind === 'throttled' ? err('throttled') : ok({ active: false })
  }
  const { policy, credential } = verified
  const common = {
    active: true,
    token_type: 'Bearer',
    scope: policy.key.scopes.join(' '),
    client_id: policy.device.id,
    sub: policy.device.id,
    iss: ctx.settings.publicUrl,
  } as const
  if (credential.kind === 'token') {
    const { audiences, issuedAt, expiresAt } = credential.claims
    return ok({ ...common, aud: encodeAudiences(audiences), iat: issuedAt, exp: expiresAt })
  }
  const ends = [credential.snapshot.secret.expiresAt, policy.key.expiresAt].filter(
    (end) => end !== null,
  )
  const end = ends.length === 0 ? {} : { exp: Math.floor(Math.min(...ends) / SECOND_MS) }
  return ok({ ...common, ...end })
}

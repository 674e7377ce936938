import { usernameKey } from '../../domain/names.ts'
import type { Origin } from '../../domain/network.ts'

/** A limiter of wrangler.toml, and the key under which it is charged one unit. */
export type Charge = readonly [limiter: LimiterName, key: string]

export type LimiterName = {
  [Name in keyof Env]: Env[Name] extends RateLimit ? Name : never
}[keyof Env]

/** The most that one request may cause for which nothing genuine was presented. */
export type Cost = {
  readonly statements: number
  /** As D1 counts them: each row, and each entry of an index. */
  readonly rowsWritten: number
  readonly objectCalls: number
}

/** A door that charges somebody before it hands over the database. */
export type ChargedDoor<Who> = {
  readonly name: string
  readonly chargesOf: (origin: Origin, who: Who) => readonly Charge[]
  readonly cost: Cost
}

/**
 * A door that charges nobody. The service behind it checks a credential before it spends anything:
 * a made-up one costs nothing, and a genuine one is charged to its own key.
 */
export type FreeDoor = { readonly name: string; readonly cost: Cost; readonly chargesOf?: never }

const NOTHING: Cost = { statements: 0, rowsWritten: 0, objectCalls: 0 }

/** A secret, a token, a code or a refresh token: its check or signature is tried before any I/O. */
export const CREDENTIAL: FreeDoor = { name: 'credential', cost: NOTHING }

/** `/healthz`: an isolate asks D1 once in five seconds, whoever calls. */
export const PROBE: FreeDoor = { name: 'probe', cost: { ...NOTHING, statements: 1 } }

/** A username and a password, before the hash: that blocks the isolate for some 150 ms. */
export const PASSWORD: ChargedDoor<{ readonly username: string }> = {
  name: 'password',
  chargesOf: (origin, { username }) => [
    ...networkCharges(origin, 'PASSWORD_LIMITER_IP', 'PASSWORD_LIMITER_SITE'),
    ['PASSWORD_LIMITER_USERNAME', `${origin.network} ${usernameKey(username)}`],
  ],
  cost: { statements: 2, rowsWritten: 6, objectCalls: 0 },
}

/** A device that holds nothing asks for codes. */
export const CLAIM_REQUEST: ChargedDoor<null> = {
  name: 'claim request',
  chargesOf: (origin) => networkCharges(origin, 'CLAIM_LIMITER_IP', 'CLAIM_LIMITER_SITE'),
  cost: { statements: 1, rowsWritten: 6, objectCalls: 0 },
}

/**
 * A look at a typed code (RFC 8628 §5.1). It is counted for the network and for the user, so that
 * neither many users nor many networks make guessing quicker than the sum of both.
 */
export const CLAIM_CODE: ChargedDoor<{ readonly userId: string }> = {
  name: 'claim code',
  chargesOf: ({ network }, { userId }) => [
    ['CLAIM_LIMITER_USER', network],
    ['CLAIM_LIMITER_USER', userId],
  ],
  cost: NOTHING,
}

/** A change by a signed-in user, whatever it makes. */
export const CHANGE: ChargedDoor<{ readonly userId: string }> = {
  name: 'change',
  chargesOf: (_, { userId }) => [['CHANGE_LIMITER', userId]],
  cost: NOTHING,
}

/** A token that its device revokes, which writes to the audit and to the feed. */
export const TOKEN_REVOCATION: ChargedDoor<{
  readonly deviceId: string
  readonly ownerId: string
}> = {
  name: 'token revocation',
  chargesOf: (_, { deviceId, ownerId }) => [
    ['TOKEN_REVOCATION_LIMITER', deviceId],
    // Not the owner's own changes: stolen secrets must not use those up.
    ['CHANGE_LIMITER', `devices of ${ownerId}`],
  ],
  cost: NOTHING,
}

/** Charges the network first: a site pays only for requests that its networks were allowed. */
function networkCharges(
  { network, site }: Origin,
  ofNetwork: LimiterName,
  ofSite: LimiterName,
): Charge[] {
  return site === null
    ? [[ofNetwork, network]]
    : [
        [ofNetwork, network],
        [ofSite, site],
      ]
}

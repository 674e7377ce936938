import { COST_MAX } from './domain/meter.ts'
import { isOwner, type Owner, OWNER_WANTED } from './domain/owner.ts'
import { err, ok } from './domain/result.ts'
import { isLiteralScope, SCOPES_MAX } from './domain/scopes.ts'

/** What another Worker says beside the credential that it asks about. */
export type VerifyOptions = {
  /** The user whose keys count, by id, another's being `not_found`; or `any`: everybody's do. */
  readonly owner: Owner
  /** Literal scopes, all of which the key must cover. */
  readonly scopes?: readonly string[]
  /** What a limited key is charged, 0 to 1000; 0 asks without spending. 1 unless said. */
  readonly cost?: number
  /** Skip the cache: the answer is D1's, or `unavailable`. */
  readonly fresh?: boolean
  /** The audience that a device token must name, or `any`; PUBLIC_URL unless said. */
  readonly audience?: string
}

const OPTIONS: ReadonlySet<string> = new Set([
  'owner',
  'scopes',
  'cost',
  'fresh',
  'audience',
] satisfies (keyof VerifyOptions)[])

type Unchecked = { readonly [Option in keyof VerifyOptions]?: unknown }

/**
 * Holds options to what HTTP takes. An unknown one is refused: a misspelt `scopes` must not let
 * everything pass, and a missing `owner` must not mean everybody.
 * @returns what to write where something is wrong
 */
export function readVerifyOptions(options: unknown) {
  if (!isPlainObject(options)) return err('options must be a plain object with an owner')
  const unknown = Object.keys(options).find((name) => !OPTIONS.has(name))
  if (unknown !== undefined) return err(`there is no option ${unknown.slice(0, 40)}`)
  const { owner, scopes = [], cost = 1, fresh = false, audience }: Unchecked = options
  if (!isOwner(owner)) return err(OWNER_WANTED)
  if (!isScopes(scopes)) return err(`scopes must be at most ${SCOPES_MAX} scopes without *`)
  if (!isCost(cost)) return err(`cost must be a whole number from 0 to ${COST_MAX}`)
  if (typeof fresh !== 'boolean') return err('fresh must be true or false')
  if (!isOptionalText(audience)) return err('audience must be a URI, or any')
  return ok({ owner, scopes, cost, fresh, audience })
}

function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  return Object.getPrototypeOf(value) === Object.prototype
}

function isScopes(value: unknown): value is readonly string[] {
  if (!Array.isArray(value) || value.length > SCOPES_MAX) return false
  return value.every((scope) => typeof scope === 'string' && isLiteralScope(scope))
}

function isCost(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= COST_MAX
}

function isOptionalText(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value !== '')
}

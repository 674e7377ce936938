import { env } from 'cloudflare:workers'
import type { BadCredential } from './bad-credentials.ts'
import type { CallOptions } from './client.ts'
import { fakeLimiter } from './environments.ts'

/** A deployment whose operator has turned something on, and how its clients call it. */
export type World = {
  readonly label: string
  readonly given: Pick<CallOptions, 'env' | 'headers'>
  /** Whether the setting decides what becomes of a secret: else one of each kind will do. */
  readonly judgesSecrets: boolean
}

const PAGE_ORIGIN = 'https://app.example'

/** Where every route is to be tried. */
export const WORLDS: readonly World[] = [
  { label: 'by default', given: {}, judgesSecrets: true },
  {
    label: 'from a page, with CORS_ORIGINS',
    given: withSetting({ CORS_ORIGINS: PAGE_ORIGIN }, { Origin: PAGE_ORIGIN }),
    judgesSecrets: false,
  },
  {
    label: 'with LOG_REQUESTS=all',
    given: withSetting({ LOG_REQUESTS: 'all' }),
    judgesSecrets: false,
  },
]

/** And those to which it matters that a route takes a secret: no setting of theirs reaches others. */
export const WORLDS_OF_SECRETS: readonly World[] = [
  ...WORLDS,
  {
    label: 'with ACCEPT_IMPORTED_KEYS=true',
    given: withSetting({ ACCEPT_IMPORTED_KEYS: 'true' }),
    judgesSecrets: true,
  },
  {
    label: 'with KEY_CHECK=off',
    given: withSetting({ KEY_CHECK: 'off' }),
    judgesSecrets: true,
  },
  {
    label: 'with USAGE=metered',
    given: withSetting({ USAGE: 'metered' }),
    judgesSecrets: false,
  },
  {
    label: 'with USAGE=off',
    given: withSetting({ USAGE: 'off' }),
    judgesSecrets: false,
  },
]

/** Codes of claims are tried in every world, more often than one user may in a minute. */
function withSetting(setting: Partial<Env>, headers: Readonly<Record<string, string>> = {}) {
  return { env: { ...env, CLAIM_LIMITER_USER: fakeLimiter(1000), ...setting }, headers }
}

/** What a call sends in that world. */
export function sentIn({ given }: World, options: CallOptions): CallOptions {
  return { ...given, ...options, headers: { ...given.headers, ...options.headers } }
}

/** The credentials to try in that world: all, or one for each problem and kind of key. */
export function triedIn(
  { judgesSecrets }: World,
  bad: readonly (BadCredential & { readonly kind?: string })[],
): readonly BadCredential[] {
  if (judgesSecrets) return bad
  return [...new Map(bad.map((one) => [`${one.code} ${one.kind}`, one])).values()]
}

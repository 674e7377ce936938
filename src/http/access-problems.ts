/** Problems by their codes. */
export type ProblemTable = Readonly<
  Record<string, { readonly status: number; readonly title: string; readonly meaning: string }>
>

/** Why a caller is not let in, or not now. */
export const ACCESS_PROBLEMS = {
  several_credentials: {
    status: 400,
    title: 'More than one credential was presented',
    meaning: 'Send the credential in one place only, once.',
  },
  missing_credential: {
    status: 401,
    title: 'A credential is needed',
    meaning: 'Nothing was presented. WWW-Authenticate names the scheme to use.',
  },
  invalid_credential: {
    status: 401,
    title: 'The credential is not valid',
    meaning: 'What was presented was not issued here, or is not of the kind that this route takes.',
  },
  invalid_credentials: {
    status: 401,
    title: 'Unknown username or wrong password',
    meaning: 'The answer is the same for an unknown username and for a wrong password.',
  },
  revoked: {
    status: 401,
    title: 'The credential was revoked',
    meaning: 'It was genuine once, and was ended for good. Get a new one.',
  },
  expired: {
    status: 401,
    title: 'The credential has expired',
    meaning: 'Its time is over. Use the newer secret, extend the key, refresh, or sign in again.',
  },
  disabled: {
    status: 401,
    title: 'The credential is disabled',
    meaning: 'The key, its device or its owner is switched off, and can be switched on again.',
  },
  insufficient_scope: {
    status: 403,
    title: 'The credential does not cover this',
    meaning: 'The key is good, but holds no scope for this request. WWW-Authenticate names it.',
  },
  wrong_password: {
    status: 403,
    title: 'The current password is wrong',
    meaning: 'This change asks for the current password, and what was sent is not it.',
  },
  cross_site: {
    status: 403,
    title: 'The form came from another site',
    meaning: 'Open the page /claim itself, and fill in its own form.',
  },
  misconfigured_proxy: {
    status: 403,
    title: 'The proxy asks for what cannot be checked',
    meaning:
      'The URL under which a proxy calls /v1/forward-auth lacks `owner`, or has a parameter ' +
      'that is unknown or malformed; `detail` says which. Nobody passes until it is corrected.',
  },
  registration_closed: {
    status: 403,
    title: 'Registration is closed',
    meaning: 'New accounts are made by an administrator of this deployment.',
  },
  self_rotation_not_allowed: {
    status: 403,
    title: 'The key may not be rotated by its device',
    meaning: 'Its owner has not allowed it: the policy of the key says self_rotation false.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    meaning: 'Wait for as many seconds as Retry-After says.',
  },
  quota_exceeded: {
    status: 429,
    title: 'The quota is used up',
    meaning: 'The key has spent its quota for this period. `reset_at` says when the next begins.',
  },
} as const satisfies ProblemTable

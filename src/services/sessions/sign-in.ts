import { and, eq, isNull, lt, sql } from 'drizzle-orm'
import { newId } from '../../crypto/ids.ts'
import { hashPassword, matchAtCost, needsRehash } from '../../crypto/password.ts'
import { makeRefreshToken } from '../../crypto/secrets.ts'
import { sessions, signInNetworks, users } from '../../db/schema.ts'
import { normalizePassword } from '../../domain/password-policy.ts'
import { err, ok, type Result } from '../../domain/result.ts'
import { commit } from '../changes/commit.ts'
import { openChange } from '../changes/open-change.ts'
import type { AuditContext, VerifyContext } from '../context.ts'
import { type AccessAudience, signAccessToken } from './access-token.ts'
import { type Account, findAccount } from './find-account.ts'
import { chargeSignIn, countFailure } from './guard-account.ts'
import { SESSION_IDLE_MS, type SessionTokens } from './sessions.ts'

type SignInInput = {
  readonly username: string
  readonly password: string
  readonly userAgent: string | null
  /** SIGN_IN_LIMITER_ACCOUNT. */
  readonly limiter: RateLimit
  /** How long the session may stand unused; SESSION_IDLE_MS unless said. */
  readonly idleMs?: number
  /** What the access token opens; all that is the user's unless said. */
  readonly audience?: AccessAudience
}

/** Opens a session for a username and password. */
export async function signIn(
  ctx: AuditContext,
  input: SignInInput,
): Promise<Result<SessionTokens, 'invalid_credentials' | 'disabled' | 'rate_limited'>> {
  const account = await findAccount(ctx, input.username)
  if (!(await chargeSignIn(input.limiter, account))) return err('rate_limited')
  const authenticated = authenticate(ctx, account, input.password)
  if (!authenticated.ok) {
    await countFailure(ctx, account)
    return authenticated
  }
  if (authenticated.value.user.disabledAt !== null) return err('disabled')
  return await openSession(ctx, input, { ...authenticated.value, network: account.network })
}

async function openSession(
  ctx: AuditContext,
  input: SignInInput,
  { user, isOutdated, network }: Authenticated & Pick<Account, 'network'>,
): Promise<Result<SessionTokens, 'invalid_credentials'>> {
  const { settings, now, ip } = ctx
  const { id: userId, passwordHash: stored } = user
  const sessionId = newId('sess')
  const { token, hash } = await makeRefreshToken(sessionId, settings.checkSecrets)
  // The verified hash guards the change: a password changed meanwhile opens nothing.
  const verified = and(
    eq(users.id, userId),
    eq(users.passwordHash, stored),
    isNull(users.disabledAt),
  )
  const change = openChange(
    { ...ctx, actor: { type: 'visitor', userId } },
    { action: 'session.created', userId, after: { session_id: sessionId } },
    sql`exists (select 1 from ${users} where ${verified})`,
  )
  const { happened } = await commit(change, {
    session: change.insert(sessions, {
      id: sessionId,
      userId,
      refreshHash: hash,
      ip,
      userAgent: input.userAgent,
      createdAt: now,
      refreshedAt: now,
      expiresAt: now + (input.idleMs ?? SESSION_IDLE_MS),
    }),
    network: change
      .insert(signInNetworks, { userId, network, signedInAt: now })
      .onConflictDoUpdate({
        target: [signInNetworks.userId, signInNetworks.network],
        set: { signedInAt: now },
      }),
    expired: change.remove(sessions, and(eq(sessions.userId, userId), lt(sessions.expiresAt, now))),
    ...(isOutdated
      ? { rehashed: change.update(users, rehash(input, ctx), eq(users.id, userId)) }
      : {}),
  })
  if (!happened) return err('invalid_credentials')
  const accessToken = await signAccessToken(ctx, { userId, sessionId }, input.audience)
  return ok({ userId, sessionId, accessToken, refreshToken: token })
}

function rehash({ password }: SignInInput, { settings }: VerifyContext) {
  const normalized = normalizePassword(password)
  return { passwordHash: hashPassword(normalized, settings.passwordAlgorithm) }
}

type Authenticated = {
  readonly user: typeof users.$inferSelect
  /** Whether the password would be hashed otherwise today. */
  readonly isOutdated: boolean
}

function authenticate(
  { settings }: VerifyContext,
  { user, algorithms }: Account,
  password: string,
): Result<Authenticated, 'invalid_credentials'> {
  const match = matchAtCost(password, user?.passwordHash, algorithms)
  if (match === undefined || user === undefined) return err('invalid_credentials')
  const mustRehash = needsRehash(user.passwordHash, settings.passwordAlgorithm)
  return ok({ user, isOutdated: match === 'as given' || mustRehash })
}

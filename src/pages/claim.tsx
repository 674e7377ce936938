import type { Context } from 'hono'
import { originOf } from '../domain/network.ts'
import { err } from '../domain/result.ts'
import { needsAdmin } from '../domain/scopes.ts'
import { SECOND_MS } from '../domain/time.ts'
import { parseUserCode, showUserCode } from '../domain/user-code.ts'
import { admit } from '../http/auth/admit.ts'
import { auditContextOf, visitorContextOf } from '../http/auth/contexts.ts'
import { CLAIM_CODE, CREDENTIAL, PASSWORD } from '../http/auth/doors.ts'
import { clientIp, userAgentOf } from '../http/client.ts'
import { type AppEnv, factory } from '../http/env.ts'
import { type Form, readForm } from '../http/form.ts'
import { noteDenial } from '../http/log.ts'
import { claimDecision } from '../schemas/claims.ts'
import { signIn as signInFields } from '../schemas/sessions.ts'
import { SessionEnded } from '../services/changes/commit.ts'
import type { VerifyContext } from '../services/context.ts'
import { type ClaimDecision, decideClaim } from '../services/claims/decide-claim.ts'
import { type Claim, findClaim } from '../services/claims/find-claim.ts'
import { ACCESS_TOKEN_SECONDS, verifyAccessToken } from '../services/sessions/access-token.ts'
import { revokeSession } from '../services/sessions/sessions.ts'
import { signIn } from '../services/sessions/sign-in.ts'
import { CLAIMS_AUDIENCE } from '../settings-schema.ts'
import { DecisionForm, SignInForm } from './claim-forms.tsx'
import { render } from './layout.tsx'

type PageContext = Context<AppEnv>
/** Somebody who has signed in on the page, through a session that lasts until their answer. */
type Visitor = {
  readonly userId: string
  readonly sessionId: string
  readonly accessToken: string
  readonly ctx: VerifyContext
}

const TITLE = 'Connect a device'
const TOO_MANY = 'Too many attempts. Wait a minute, then try again.'
const NO_CLAIM =
  'No device waits under this code. Codes end after ten minutes and are answered once: ' +
  'look at the device for a new one.'

/** What an approval may be refused for without being spent, in a visitor's words. */
const FAULTS: ReadonlyMap<string, string> = new Map([
  ['scopes_widened', 'scopes: more than the device asks for'],
  ['cap_reached', 'You have as many devices as you may have. Delete one, then try again.'],
])

/** Where people answer a device that shows a code (RFC 8628 §3.3). No cookie, no script. */
export const claimPage = factory
  .createApp()
  .get('/claim', (c) => signInPage(c, parseUserCode(c.req.query('user_code') ?? ''), 200))
  .post('/claim', async (c) => {
    const form = await readForm(c)
    if (!form.ok) return signInPage(c, undefined, 400, form.reason)
    const accessToken = form.value.get('access_token')
    return accessToken === undefined
      ? await showClaim(c, form.value)
      : await takeAnswer(c, form.value, accessToken)
  })

/** First step: who is it, and which device? */
async function showClaim(c: PageContext, form: Form): Promise<Response> {
  const code = parseUserCode(form.get('user_code') ?? '')
  const typed = { username: form.get('username'), password: form.get('password') }
  const fields = signInFields.safeParse(typed)
  if (!fields.success) return signInPage(c, code, 400, 'Fill in all three fields.')
  const admitted = await admit(c, PASSWORD, fields.data)
  if (!admitted.ok) return tooMany(c, code)
  const ctx = admitted.value
  const idleMs = ACCESS_TOKEN_SECONDS * SECOND_MS
  const opened = await signIn(visitorContextOf(c, ctx), {
    ...fields.data,
    userAgent: userAgentOf(c),
    limiter: c.env.SIGN_IN_LIMITER_ACCOUNT,
    idleMs,
    audience: CLAIMS_AUDIENCE,
  })
  if (!opened.ok) {
    const isDisabled = opened.reason === 'disabled'
    noteDenial(c, isDisabled ? 'disabled' : 'not_found')
    if (opened.reason === 'rate_limited') return tooMany(c, code)
    const fault = isDisabled ? 'This account is disabled.' : 'Unknown username or wrong password.'
    return signInPage(c, code, 401, fault)
  }
  const visitor = { ...opened.value, ctx }
  c.var.log.userId = visitor.userId
  if (!(await admit(c, CLAIM_CODE, visitor)).ok) {
    await leave(c, visitor)
    return tooMany(c, code)
  }
  const claim = await findClaim(ctx, code ?? '')
  if (code !== undefined && claim.ok) return decisionPage(c, claim.value, code, visitor)
  await leave(c, visitor)
  return signInPage(c, code, 404, NO_CLAIM)
}

/** Second step: the answer. It ends the session, unless it cannot be taken as it is. */
async function takeAnswer(c: PageContext, form: Form, accessToken: string): Promise<Response> {
  const code = parseUserCode(form.get('user_code') ?? '')
  const ctx = admit(c, CREDENTIAL)
  const verified = await verifyAccessToken(ctx, accessToken, CLAIMS_AUDIENCE)
  if (!verified.ok) {
    noteDenial(c, verified.reason)
    return signInPage(c, code, 401, 'You took too long. Sign in again.')
  }
  const { id: userId, sessionId } = verified.value
  const visitor = { userId, sessionId, accessToken, ctx }
  c.var.log.userId = visitor.userId
  if (!(await admit(c, CLAIM_CODE, visitor)).ok) return tooMany(c, code)
  const claim = await findClaim(ctx, code ?? '')
  if (code === undefined || !claim.ok) {
    await leave(c, visitor)
    return signInPage(c, code, 404, NO_CLAIM)
  }
  const answer = claimDecision.safeParse(answerIn(form))
  if (!answer.success) {
    const [issue] = answer.error.issues
    const fault = `${String(issue?.path[0] ?? 'answer')}: ${issue?.message ?? 'not valid'}`
    return decisionPage(c, claim.value, code, visitor, fault)
  }
  const scopes = answer.data.decision === 'approve' ? (answer.data.scopes ?? []) : []
  const { reservedScopes } = c.var.settings
  const adminsOnly = scopes.find((scope) => needsAdmin(scope, reservedScopes))
  if (adminsOnly !== undefined && verified.value.role !== 'admin') {
    const fault = `Only an admin can give a key the scope ${adminsOnly}.`
    return decisionPage(c, claim.value, code, visitor, fault)
  }
  const decision =
    answer.data.decision === 'deny'
      ? answer.data
      : { ...answer.data, key: { selfRotation: answer.data.key.self_rotation } }
  const decided = await decide(c, visitor, code, decision)
  const fault = decided.ok ? undefined : FAULTS.get(decided.reason)
  if (fault !== undefined) return decisionPage(c, claim.value, code, visitor, fault)
  await leave(c, visitor)
  if (!decided.ok) return signInPage(c, code, 404, NO_CLAIM)
  return decided.value.decision === 'approve'
    ? render(c, 'Approved', <p>{decided.value.grantedName} will get its key within seconds.</p>)
    : render(c, 'Denied', <p>The device gets nothing. You can close this page.</p>)
}

/** Two clicks are one answer: the second finds nothing that waits, and its session ended. */
async function decide(c: PageContext, visitor: Visitor, code: string, decision: ClaimDecision) {
  const { userId, sessionId } = visitor
  const ctx = auditContextOf(c, visitor.ctx, { type: 'user', userId, sessionId })
  try {
    return await decideClaim(ctx, { userId, typedCode: code, decision })
  } catch (thrown) {
    if (thrown instanceof SessionEnded) return err('not_found')
    throw thrown
  }
}

/** The form's fields as the API takes them: of the scopes, those that are still checked. */
function answerIn(form: Form): Record<string, unknown> {
  const decision = form.get('decision')
  if (decision !== 'approve') return { decision }
  const boxes = form.entries().filter(([name]) => name.startsWith('scope.'))
  const checked = boxes.map(([, value]) => value)
  const typed = (form.get('scopes') ?? '').split(/\s+/).filter((scope) => scope !== '')
  const key = { self_rotation: form.has('self_rotation') }
  return { decision, name: form.get('name') ?? '', scopes: [...checked, ...typed], key }
}

/** Ends the session of the page, whether or not it still lives. */
async function leave(c: PageContext, visitor: Visitor): Promise<void> {
  const ctx = auditContextOf(c, visitor.ctx, { type: 'visitor', userId: visitor.userId })
  await revokeSession(ctx, visitor)
}

function tooMany(c: PageContext, code: string | undefined): Response {
  c.header('Retry-After', '60')
  return signInPage(c, code, 429, TOO_MANY)
}

function signInPage(
  c: PageContext,
  code: string | undefined,
  status: 200 | 400 | 401 | 404 | 429,
  fault?: string,
): Response {
  // RFC 9110 §15.5.2 wants one with a 401. Browsers ask for nothing at this one.
  if (status === 401) c.header('WWW-Authenticate', 'Bearer realm="latchkey"')
  const shown = code === undefined ? '' : showUserCode(code)
  return render(c, TITLE, <SignInForm code={shown} fault={fault} />, status)
}

function decisionPage(
  c: PageContext,
  claim: Claim,
  userCode: string,
  { accessToken }: Visitor,
  fault?: string,
): Response {
  const isNearby = claim.ip !== null && originOf(claim.ip).network === originOf(clientIp(c)).network
  const form = { claim, userCode, accessToken, isNearby, fault }
  return render(c, TITLE, <DecisionForm {...form} />, fault === undefined ? 200 : 400)
}

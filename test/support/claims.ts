import { redeemClaim } from '../../src/services/claims/redeem-claim.ts'
import type { VerifyContext } from '../../src/services/context.ts'
import { type Answer, call, type CallOptions, pick } from './client.ts'
import type { TestUser } from './fixtures.ts'
import { contextAt } from './isolates.ts'

const FORM_TYPE = { 'Content-Type': 'application/x-www-form-urlencoded' }

type Fields = Readonly<Record<string, string>>

/** Sends a form, as browsers and OAuth clients do. */
export async function postForm(
  path: string,
  fields: Fields | string,
  options: CallOptions = {},
): Promise<Answer> {
  const { raw, headers } = formOf(fields)
  return await call('POST', path, { ...options, raw, headers: { ...headers, ...options.headers } })
}

/** What a form's request carries. */
export function formOf(fields: Fields | string) {
  return { raw: new URLSearchParams(fields).toString(), headers: FORM_TYPE }
}

/** A device that asked to be claimed. */
export type Asker = {
  readonly clientId: string
  /** The device whose secret it asked with; null: it asked with none. */
  readonly clientDeviceId: string | null
  readonly deviceCode: string
  /** As it is shown. */
  readonly userCode: string
}

/** A device asks, through the API. */
export async function askForCodes(fields: Fields = {}, options: CallOptions = {}): Promise<Asker> {
  const sent = { client_id: 'acme-thermo-2', ...fields }
  const { body } = await postForm('/oauth/device_authorization', sent, options)
  return {
    clientId: sent.client_id,
    clientDeviceId: null,
    deviceCode: pick(body, 'device_code'),
    userCode: pick(body, 'user_code'),
  }
}

/** A user answers, through the API. */
export async function answerClaim(
  user: TestUser,
  { userCode }: Pick<Asker, 'userCode'>,
  body: Readonly<Record<string, unknown>> = { decision: 'approve' },
): Promise<Answer> {
  return await call('POST', `/v1/claims/${userCode}`, { token: user.token, body })
}

/** The device polls, past the token endpoint. */
export async function poll(asker: Asker, now = Date.now(), given: Partial<VerifyContext> = {}) {
  const ctx = { ...contextAt(now, given), ip: '192.0.2.7', requestId: 'a-request-id' }
  return await redeemClaim(ctx, asker)
}

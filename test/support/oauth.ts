import { expect } from 'vitest'
import { type Answer, call, pick } from './client.ts'
import type { TestDevice } from './fixtures.ts'

export type Parameters = Readonly<Record<string, string>> | readonly (readonly [string, string])[]

/**
 * Whether an answer is an error as RFC 6749 §5.2 has it, whose characters are limited.
 * Plain comparisons: the fuzz test asks thousands of times.
 */
export function isOAuthError({ headers, body }: Answer): boolean {
  const fields = new Map<string, unknown>(Object.entries(body ?? {}))
  return (
    headers.get('content-type') === 'application/json' &&
    headers.get('cache-control') === 'no-store' &&
    fields.size === 2 &&
    /^[a-z_]+$/.test(String(fields.get('error'))) &&
    /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/.test(String(fields.get('error_description')))
  )
}

/** Expects an OAuth error; 401 has the challenge of the scheme that is to be used. */
export function expectOAuthError(
  answer: Answer,
  status: number,
  error: string,
  challenge = 'Basic realm="latchkey"',
): void {
  expect(answer).toMatchObject({ status, body: { error } })
  expect(isOAuthError(answer)).toBe(true)
  if (status === 401) expect(answer.headers.get('www-authenticate')).toBe(challenge)
}

/** Posts a form, as OAuth clients do. */
export async function postForm(
  path: string,
  parameters: Parameters,
  headers: Readonly<Record<string, string>> = {},
  environment?: Env,
): Promise<Answer> {
  const pairs = Array.isArray(parameters) ? parameters : Object.entries(parameters)
  const raw = new URLSearchParams(pairs.map(([name, value]) => [name, value])).toString()
  const type = { 'Content-Type': 'application/x-www-form-urlencoded' }
  return await call('POST', path, {
    raw,
    headers: { ...type, ...headers },
    ...(environment === undefined ? {} : { env: environment }),
  })
}

/** HTTP Basic for a client, whose halves are form-encoded (RFC 6749 §2.3.1). */
export function basic(id: string, secret: string): { readonly Authorization: string } {
  const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`
  return { Authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}

/** A device token for the device's secret. */
export async function fetchToken(
  device: TestDevice,
  parameters: Readonly<Record<string, string>> = {},
  environment?: Env,
): Promise<string> {
  const answer = await postForm(
    '/oauth/token',
    { grant_type: 'client_credentials', ...parameters },
    basic(device.id, device.secret),
    environment,
  )
  if (answer.status !== 200) throw new Error(answer.text)
  return pick(answer.body, 'access_token')
}

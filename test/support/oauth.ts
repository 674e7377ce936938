import { type Answer, call, pick } from './client.ts'
import type { TestDevice } from './fixtures.ts'

export type Parameters = Readonly<Record<string, string>> | readonly (readonly [string, string])[]

/** Posts a form, as OAuth clients do. */
export async function postForm(
  path: string,
  parameters: Parameters,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const pairs = Array.isArray(parameters) ? parameters : Object.entries(parameters)
  const raw = new URLSearchParams(pairs.map(([name, value]) => [name, value])).toString()
  const type = { 'Content-Type': 'application/x-www-form-urlencoded' }
  return await call('POST', path, { raw, headers: { ...type, ...headers } })
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
): Promise<string> {
  const answer = await postForm(
    '/oauth/token',
    { grant_type: 'client_credentials', ...parameters },
    basic(device.id, device.secret),
  )
  if (answer.status !== 200) throw new Error(answer.text)
  return pick(answer.body, 'access_token')
}

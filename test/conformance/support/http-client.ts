import * as z from 'zod'

export type Sent = { readonly token?: string; readonly body?: Readonly<Record<string, unknown>> }

export type Answer = {
  readonly status: number
  readonly headers: Headers
  /** The parsed body; undefined when there is none. */
  readonly body: unknown
}

export const session = z.object({ access_token: z.string(), refresh_token: z.string() })

/** What creating a device answers, and, but for the device, what rotating a key does. */
export const issuedKey = z.object({ key: z.object({ id: z.string() }), api_key: z.string() })
export const createdDevice = issuedKey.extend({ device: z.object({ id: z.string() }) })

/** Sends a request over the network; its route is `<method> <url>`. */
export async function call(route: string, { token, body }: Sent = {}): Promise<Answer> {
  const [method = '', url = ''] = route.split(' ')
  const headers = new Headers()
  if (token !== undefined) headers.set('Authorization', `Bearer ${token}`)
  if (body !== undefined) headers.set('Content-Type', 'application/json')
  const sent = body === undefined ? null : JSON.stringify(body)
  const response = await fetch(url, { method, headers, body: sent })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: text === '' ? undefined : JSON.parse(text),
  }
}

import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { app } from '../../src/app.ts'

export const ORIGIN = 'https://latchkey.example'

export type CallOptions = {
  readonly body?: unknown
  /** A body sent as it is, instead of `body`: the headers say what it is, if anything does. */
  readonly raw?: BodyInit
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  /** The country in which the edge saw the caller. */
  readonly country?: string
  /** Another environment than the test's own: wrapped bindings, other settings. */
  readonly env?: Env
}

export type Answer = {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The parsed body; undefined when there is none. */
  readonly body: unknown
}

let lastAddress = 0

/** An address that no other call has used: per-IP limits never meet. */
export function freshIp(): string {
  lastAddress += 1
  return `10.${(lastAddress >> 16) & 255}.${(lastAddress >> 8) & 255}.${lastAddress & 255}`
}

/** Calls the Worker as a client does, from a fresh address unless a header says otherwise. */
export async function call(
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<Answer> {
  const { body, token, headers } = options
  const sent = body === undefined ? options.raw : JSON.stringify(body)
  const request = new Request(`${ORIGIN}${path}`, {
    method,
    headers: {
      'CF-Connecting-IP': freshIp(),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
    ...(options.country === undefined ? {} : { cf: { country: options.country } }),
  })
  const context = createExecutionContext()
  const response = await app.fetch(request, options.env ?? env, context)
  const text = await response.text()
  await waitOnExecutionContext(context)
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson && text !== '' ? JSON.parse(text) : undefined,
  }
}

/** The string at a path of a body. */
export function pick(body: unknown, ...path: readonly string[]): string {
  let value = body
  for (const name of path) {
    value =
      typeof value === 'object' && value !== null
        ? Object.entries(value).find(([key]) => key === name)?.[1]
        : undefined
  }
  if (typeof value === 'string') return value
  throw new Error(`no string at ${path.join('.')} of ${JSON.stringify(body)}`)
}

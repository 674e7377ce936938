/** One request of a load. */
export type Sent = {
  /** `<method> <path>` */
  readonly route: string
  readonly token?: string
  readonly body?: Readonly<Record<string, unknown>>
  readonly form?: Readonly<Record<string, string>>
}

export type Answer = {
  /** The status of a success; of a refusal, the code of its problem. */
  readonly outcome: string
  readonly headers: Headers
  readonly body: unknown
}

/** Sends a request under an id, which the audit row of the change that it makes holds too. */
export async function send(url: string, sent: Sent, requestId: string): Promise<Answer> {
  const [method = '', path = ''] = sent.route.split(' ')
  const headers = new Headers({ 'X-Request-Id': requestId })
  if (sent.token !== undefined) headers.set('Authorization', `Bearer ${sent.token}`)
  if (sent.body !== undefined) headers.set('Content-Type', 'application/json')
  const response = await fetch(`${url}${path}`, { method, headers, body: bodyOf(sent) })
  const text = await response.text()
  const body: unknown = text === '' ? undefined : JSON.parse(text)
  return { outcome: outcomeOf(response.status, body), headers: response.headers, body }
}

/** fetch itself says what type a form has. */
function bodyOf({ body, form }: Sent) {
  if (form !== undefined) return new URLSearchParams(form)
  return body === undefined ? null : JSON.stringify(body)
}

function outcomeOf(status: number, body: unknown): string {
  const hasCode = typeof body === 'object' && body !== null && 'code' in body
  return hasCode && status >= 400 ? String(body.code) : String(status)
}

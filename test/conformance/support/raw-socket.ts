import { connect } from 'node:net'

const HEAD_END = '\r\n\r\n'
const SILENCE_MS = 1000

export type SocketAnswer = {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** A connection on which a client does what no library does: half a request, a byte at a time. */
export type Connection = {
  readonly write: (text: string) => void
  /** The first whole answer. */
  readonly answer: Promise<SocketAnswer>
  /** Everything that came, once the server has closed the connection. */
  readonly closed: Promise<string>
  readonly destroy: () => void
}

export function openConnection(port: number): Connection {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  let received = ''
  const answer = new Promise<SocketAnswer>((resolve, reject) => {
    socket.on('data', (text: string) => {
      received += text
      const whole = parseAnswer(received)
      if (whole !== undefined) resolve(whole)
    })
    socket.on('close', () => reject(new Error(`no whole answer: ${received}`)))
  })
  // A test that failed before it asked for the answer must not fail a second time.
  answer.catch(() => undefined)
  const closed = new Promise<string>((resolve) => {
    socket.on('close', () => resolve(received))
  })
  // A server that closes before all was sent may reset the connection; `close` follows.
  socket.on('error', () => undefined)
  return {
    write: (text) => {
      if (socket.writable) socket.write(text, 'latin1')
    },
    answer,
    closed,
    destroy: () => {
      socket.destroy()
    },
  }
}

/**
 * Reads an answer, whose length must be declared (RFC 9112 §6.2), as the Worker's are; undefined:
 * it is not whole.
 */
function parseAnswer(received: string): SocketAnswer | undefined {
  const end = received.indexOf(HEAD_END)
  if (end === -1) return undefined
  const [statusLine = '', ...lines] = received.slice(0, end).split('\r\n')
  const headers = new Headers(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).trim()]
    }),
  )
  if (headers.has('transfer-encoding')) return undefined
  const length = Number(headers.get('content-length'))
  const body = received.slice(end + HEAD_END.length)
  if (body.length < length) return undefined
  const text = Buffer.from(body.slice(0, length), 'latin1').toString()
  return { status: Number(statusLine.split(' ')[1]), headers, text }
}

/** Says all of it, whatever comes. @returns what came until the server closed or fell silent */
export async function converse(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1').setTimeout(SILENCE_MS)
  let received = ''
  socket.on('data', (part: string) => (received += part))
  // A server may reset the connection when it has answered; `close` follows.
  socket.on('error', () => undefined).on('timeout', () => socket.destroy())
  socket.write(text, 'latin1')
  await new Promise((resolve) => socket.on('close', resolve))
  return received
}

/** The head of a request, with the empty line that ends it. */
export function headOf(route: string, fields: Readonly<Record<string, string>>): string {
  const lines = Object.entries({ Host: 'localhost', ...fields }).map((field) => field.join(': '))
  return [`${route} HTTP/1.1`, ...lines].join('\r\n') + HEAD_END
}

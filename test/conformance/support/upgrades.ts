import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Fields, fieldsOf, listen } from './raw-http.ts'

/** An API that agrees to every upgrade and CONNECT, and sends back what it is sent. */
export type WillingServer = {
  readonly port: number
  /** The fields of the requests that it made tunnels of, and of the others. */
  readonly upgraded: Fields[]
  readonly plain: Fields[]
  readonly close: () => void
}

export async function startWillingServer(): Promise<WillingServer> {
  const upgraded: Fields[] = []
  const plain: Fields[] = []
  const sockets = new Set<Duplex>()
  const server = createServer((incoming, response) => {
    plain.push(fieldsOf(incoming))
    response.end('no upgrade')
  })
  server.on('upgrade', (incoming: IncomingMessage, socket: Duplex) => {
    upgraded.push(fieldsOf(incoming))
    sockets.add(socket)
    // The client may reset the connection when a test ends.
    socket.on('error', () => socket.destroy())
    const { upgrade: protocol = '', 'sec-websocket-key': key = '' } = incoming.headers
    const lines = [
      'HTTP/1.1 101 Switching Protocols',
      'Connection: Upgrade',
      `Upgrade: ${protocol}`,
      `Sec-WebSocket-Accept: ${acceptOf(key)}`,
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    socket.write('the API speaks first')
    socket.pipe(socket)
  })
  server.on('connect', (incoming: IncomingMessage, socket: Duplex) => {
    upgraded.push(fieldsOf(incoming))
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.write('HTTP/1.1 200 OK\r\n\r\n')
    socket.pipe(socket)
  })
  const close = () => {
    server.close()
    server.closeAllConnections()
    for (const socket of sockets) socket.destroy()
  }
  return { port: await listen(server), upgraded, plain, close }
}

/** What shows that the server knows the protocol (RFC 6455 §4.2.2). HAProxy asks for it. */
function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

/** What became of a request for an upgrade. */
export type Upgrade = {
  readonly status: number | undefined
  /** The connection, and what had come over it with the 101; undefined: there was no upgrade. */
  readonly tunnel: { readonly socket: Socket; readonly head: string } | undefined
}

export async function askForUpgrade(
  port: number,
  fields: Fields,
  method = 'GET',
): Promise<Upgrade> {
  const headers = [['Host', `127.0.0.1:${port}`], ...fields].flat()
  const sent = request({ host: '127.0.0.1', port, method, headers, agent: false }).end()
  return await new Promise((resolve, reject) => {
    sent.on('error', reject)
    sent.on('response', (response) => {
      response.resume()
      resolve({ status: response.statusCode, tunnel: undefined })
    })
    sent.on('upgrade', ({ statusCode }, socket: Socket, head) => {
      socket.on('error', () => socket.destroy())
      resolve({ status: statusCode, tunnel: { socket, head: head.toString() } })
    })
  })
}

/** Waits until so many characters came over the connection. */
export async function receive(socket: Socket, characters: number): Promise<string> {
  let received = ''
  const note = (bytes: Buffer) => (received += bytes.toString())
  socket.on('data', note).resume()
  while (received.length < characters) await once(socket, 'data')
  socket.pause().off('data', note)
  return received
}

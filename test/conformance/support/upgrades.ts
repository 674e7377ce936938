import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Fields, fieldsOf, listen } from './raw-http.ts'

/** An API that agrees to every upgrade, whatever its protocol, and sends back what it is sent. */
export type WillingServer = {
  readonly port: number
  /** The fields of the requests that it upgraded, and of those that asked for no upgrade. */
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
    const protocol = incoming.headers.upgrade ?? ''
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
    )
    socket.write('the API speaks first')
    socket.pipe(socket)
  })
  const close = () => {
    server.close()
    server.closeAllConnections()
    for (const socket of sockets) socket.destroy()
  }
  return { port: await listen(server), upgraded, plain, close }
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

import { connect, createServer } from 'node:net'
import { startDeployment } from './oauth-deployment.ts'
import { type Fields, listen } from './raw-http.ts'

/** Latchkey, a device of whose key proxies ask it, and all that they send it. */
export type TappedLatchkey = {
  /** `host:port` */
  readonly address: string
  readonly deviceId: string
  readonly bearer: Fields
  /** What it was sent since `forget`, byte for byte as Latin-1. */
  readonly sent: () => string
  readonly forget: () => void
  readonly close: () => Promise<void>
}

export async function startTappedLatchkey(): Promise<TappedLatchkey> {
  const latchkey = await startDeployment()
  const { id, secret } = await latchkey.register('sensor', ['telemetry:*'])
  let sent = ''
  const tap = createServer((proxy) => {
    const onward = connect(Number(latchkey.origin.port), latchkey.origin.hostname)
    proxy.on('data', (bytes) => (sent += bytes.toString('latin1')))
    // Either may reset the connection when a test ends.
    proxy.on('error', () => onward.destroy())
    onward.on('error', () => proxy.destroy())
    proxy.pipe(onward).pipe(proxy)
  })
  const address = `127.0.0.1:${await listen(tap)}`
  const close = async () => {
    tap.close()
    await latchkey.close()
  }
  return {
    address,
    deviceId: id,
    bearer: [['Authorization', `Bearer ${secret}`]],
    sent: () => sent,
    forget: () => {
      sent = ''
    },
    close,
  }
}

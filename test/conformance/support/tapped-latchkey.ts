import { connect, createServer } from 'node:net'
import { call } from './http-client.ts'
import { startDeployment } from './oauth-deployment.ts'
import { type Fields, listen } from './raw-http.ts'

/** Latchkey, a device of whose key proxies ask it, and all that they send it. */
export type TappedLatchkey = {
  /** `host:port` */
  readonly address: string
  readonly deviceId: string
  readonly bearer: Fields
  /** Makes another device. */
  readonly register: (name: string) => Promise<RevocableDevice>
  /** What it was sent since `forget`, byte for byte as Latin-1. */
  readonly sent: () => string
  readonly forget: () => void
  readonly close: () => Promise<void>
}

export type RevocableDevice = { readonly bearer: Fields; readonly delete: () => Promise<void> }

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
  const register = async (name: string): Promise<RevocableDevice> => {
    const device = await latchkey.register(name, ['telemetry:*'])
    const url = new URL(`/v1/devices/${device.id}`, latchkey.origin)
    return {
      bearer: bearerOf(device.secret),
      delete: async () => {
        const { status } = await call(`DELETE ${url.href}`, { token: latchkey.accessToken })
        if (status !== 204) throw new Error(`the device was not deleted: ${status}`)
      },
    }
  }
  return {
    address,
    deviceId: id,
    bearer: bearerOf(secret),
    register,
    sent: () => sent,
    forget: () => {
      sent = ''
    },
    close,
  }
}

function bearerOf(secret: string): Fields {
  return [['Authorization', `Bearer ${secret}`]]
}
